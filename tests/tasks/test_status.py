"""How a store stands: what is told is what is there, quickly, and what could not be asked is said."""

import json
import os
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from data_contracts.store.locks import hold
from flows.terminal.status_tables import status_lines
from tasks.mlflow_runs.glance.looking import look, pipelines_of, running_of
from tasks.mlflow_runs.names import BENCHMARK_TAG, MODEL_NAME, VERSION_TAG, owner_lock, store_id
from tasks.status import read_status
from tests.ports import free_port
from tests.servers import serving
from tests.tasks.cleaning.history import FIRST_DAY, History


@pytest.fixture
def history(empty_store, monkeypatch) -> History:
    history = History(empty_store)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return history


def scored(history: History, night, **promotion: str) -> None:
    """What a pipeline and a decision write of a version."""
    client = history.client
    client.log_metric(night.run, "test/mpjpe_mm", 41.25)
    client.set_tag(night.run, VERSION_TAG, night.version)
    for key, value in {"test/mpjpe_mm": "41.25", "test/pck_150": "0.934", **promotion}.items():
        client.set_model_version_tag(MODEL_NAME, night.version, key, value)


def test_nights_and_versions_are_told_the_newest_first(history):
    nights = [history.night() for _ in range(3)]
    scored(history, nights[2], **{"promotion.promoted": "False", "promotion.reason": "worse by 3 mm"})
    history.crown(nights[0])
    history.crown(nights[2], "challenger")
    history.client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, "abc")
    status = read_status(history.store, nights=2)
    newest, before = status.nights
    assert newest.run_id == nights[2].run
    assert newest.began == FIRST_DAY.timestamp() + 2 * 86_400
    assert (newest.state, newest.seconds, newest.mpjpe_mm) == ("FINISHED", 1.0, 41.25)
    assert (newest.version, newest.promotion) == (nights[2].version, "not promoted: worse by 3 mm")
    assert (before.run_id, before.mpjpe_mm, before.promotion) == (nights[1].run, None, None)
    assert list(status.versions) == ["champion", "challenger"]
    assert status.versions["champion"]["version"] == nights[0].version
    assert status.versions["challenger"]["scores"] == {"mpjpe_mm": 41.25, "pck_150": 0.934}
    assert status.benchmark == "abc"
    assert status.unasked == status.running == []
    assert status.disk["runs"]["count"] == 6
    assert status.disk["mlartifacts"]["bytes"] > 0
    json.dumps(status.as_json())


def test_who_is_at_work_is_told_and_who_died_too(history):
    history.night()
    living, dead = (history.run("pipeline", digit * 16, {}, 3, "RUNNING") for digit in "ab")
    training = history.run("pretrain", "c" * 16, {}, 4, "RUNNING")
    (history.store / "pipelines").mkdir()
    with (
        hold(owner_lock(history.store, living), "a pipeline"),
        hold(history.store / "runs" / f".{'c' * 16}.lock", "pretrain"),
        hold(history.store / ".promotion.lock", "a promotion"),
    ):
        status = read_status(history.store)
    holders = {run.run_id: run.holder for run in status.running}
    assert f"process {os.getpid()} " in holders[living]
    assert f"process {os.getpid()} " in holders[training]
    assert holders[dead] is None
    assert set(status.locks) == {f"pipelines/.{living}.lock", f"runs/.{'c' * 16}.lock", ".promotion.lock"}
    assert not read_status(history.store).locks


def test_what_cannot_be_asked_is_said_and_the_rest_told(history, monkeypatch):
    history.night()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused.getsockname()[1]}")
    status = read_status(history.store)
    assert not status.nights
    assert len(status.unasked) == 1
    assert "does not answer" in status.unasked[0]
    assert status.disk["runs"]["count"] == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://nowhere/mlflow")
    assert "neither a server nor a SQLite file" in read_status(history.store).unasked[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (history.store / "mlflow.db").write_bytes(b"no database")
    assert "could not be asked (file is not a database)" in read_status(history.store).unasked[0]


class Silent(BaseHTTPRequestHandler):
    """A server that takes the question and does not answer in time."""

    def do_POST(self):
        time.sleep(5)

    do_GET = do_POST

    def log_message(self, *_):
        """Not here."""


@pytest.fixture
def silent_server():
    server = HTTPServer(("127.0.0.1", 0), Silent)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.shutdown, daemon=True).start()


def test_the_command_waits_for_nobody_and_imports_neither_torch_nor_mlflow(history, silent_server):
    scored(history, history.night())
    code = (
        "import sys; from flows.command_line import main; sys.argv[1:] = ['status', '--json', '--store', sys.argv[1]]\n"
        "import atexit; slow = {'torch', 'mlflow', 'pandas', 'prefect'}\n"
        "atexit.register(lambda: print(sorted(slow & {*sys.modules}), file=sys.stderr))\nmain()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PREFECT_API_URL"] = f"{silent_server}/api"
    began = time.monotonic()
    command = [sys.executable, "-c", code, str(history.store)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    took = time.monotonic() - began
    assert run.stderr.splitlines()[-1] == "[]"
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["nights"][0]["mpjpe_mm"] == 41.25
    assert told["flow_runs"] is None
    assert "/api could not be asked (ReadTimeout" in told["unasked"][0]
    assert took < 15  # on a machine that does other things; the benchmark tells how fast it is


def test_it_fits_one_screen(history, capsys):
    for _ in range(6):
        scored(history, history.night(), **{"promotion.promoted": "False", "promotion.reason": "worse " * 60})
    history.crown(history.nights[0])
    history.run("pipeline", "a" * 16, {}, 9, "RUNNING")
    flow = {"flow": "promote", "name": "version 3", "state": "Suspended", "since": "2026-11-27T03:10:00Z"}
    console = Console(width=100, markup=False, emoji=False)
    for line in status_lines(read_status(history.store), [flow]):
        console.print(line)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 40
    assert "41.2 mm" in shown
    assert "its process is dead" in shown
    assert "Prefect: promote version 3, suspended since 2026-11-27 03:10" in shown


@pytest.fixture
def server(history):
    """MLflow's tracking server before the same database."""
    port, uri, program = free_port(), f"sqlite:///{history.store / 'mlflow.db'}", Path(sys.executable).parent / "mlflow"
    command = [str(program), "server", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # 8 more processes
    with serving(command, port, "/health", history.store.with_name("server.log"), environment) as address:
        yield address


def test_a_server_and_its_database_answer_alike(history, server, monkeypatch):
    monkeypatch.setattr("tasks.mlflow_runs.glance.server.TIMEOUT_SECONDS", 30.0)  # the machine may be busy
    nights = [history.night() for _ in range(2)]
    scored(history, nights[1], **{"promotion.promoted": "True"})
    history.crown(nights[0])
    history.run("pipeline", "a" * 16, {}, 9, "RUNNING")
    own = look(history.store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    asked = look(history.store)
    name = store_id(history.store)
    for question in (
        lambda glance: pipelines_of(glance, name, 2),
        lambda glance: running_of(glance, name),
        lambda glance: glance.aliases(),
        lambda glance: glance.model_tags(),
        lambda glance: glance.version_tags(nights[1].version),
        lambda glance: glance.version_tags("99"),
    ):
        assert question(asked) == question(own)
    assert pipelines_of(asked, "another store", 2) == []
