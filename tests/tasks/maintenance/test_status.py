"""Status of a store: its contents, how fast the command answers, and its report if a server does not answer."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from rich.console import Console

from data_contracts.store.locks import locked
from flows.terminal.store_commands import status_lines
from tasks.maintenance import status as module
from tasks.maintenance.starts import forget_starts, record_start, restarted
from tasks.maintenance.status import read_status
from tasks.tracking.names import (
    BENCHMARK_TAG,
    DECISION_TAG,
    MODEL_NAME,
    SOURCES_TAG,
    STAGE_TAG,
    STORE_TAG,
    VERSION_TAG,
    owner_lock,
    store_id,
)
from tasks.tracking.runs import TrackedRun
from tests.ports import free_port
from tests.servers import serving
from tests.tasks.maintenance.history import History, PipelineRun, files_below, milliseconds


@pytest.fixture
def history(empty_store, monkeypatch) -> History:
    history = History(empty_store)
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return history


def score(history: History, run: PipelineRun, decision: str = "promoted over 1: better") -> None:
    """Write what a pipeline run and a promotion write about a version."""
    client = history.client
    TrackedRun(client, run.run).log_metrics({"test/mpjpe_mm": 41.25, "test/pck_150": 0.934}, model_id=run.model)
    client.set_tag(run.run, VERSION_TAG, run.version)
    client.set_model_version_tag(MODEL_NAME, run.version, DECISION_TAG, decision)


def mlflow_errors(status) -> list[str]:
    return [error for error in status.errors if not error.startswith("Prefect")]


def test_pipeline_runs_and_versions_are_listed_newest_first(history):
    runs = [history.pipeline() for _ in range(2)]
    history.clock_days = -5
    runs.append(history.pipeline())
    score(history, runs[2], "not promoted over 1: worse by 3 mm")
    history.crown(runs[0])
    history.crown(runs[2], "challenger")
    history.client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, "abc")
    before = files_below(history.store)
    status = read_status(history.store, last=2)
    assert files_below(history.store) == before
    newest, previous = status.pipeline_runs
    assert newest.run_id == runs[2].run
    assert newest.began == milliseconds(-3) / 1000
    assert (newest.state, newest.seconds, newest.mpjpe_mm) == ("FINISHED", 1.0, 41.25)
    assert (newest.version, newest.promotion) == (runs[2].version, "not promoted over 1: worse by 3 mm")
    assert (previous.run_id, previous.mpjpe_mm, previous.promotion) == (runs[1].run, None, None)
    assert list(status.versions) == ["champion", "challenger"]
    assert status.versions["champion"]["version"] == runs[0].version
    assert status.versions["challenger"]["scores"] == {"mpjpe_mm": 41.25, "pck_150": 0.934}
    assert status.benchmark == "abc"
    assert mlflow_errors(status) == status.running == []
    assert status.disk["runs"]["count"] == 6
    assert status.disk["mlartifacts"]["bytes"] > 0
    json.dumps(asdict(status))


def test_what_waits_for_a_person_is_named_with_its_remedy(history, monkeypatch):
    history.crown(history.pipeline())
    assert read_status(history.store).to_do == []
    waiting = history.pipeline()
    history.crown(waiting, "challenger")
    history.run("pretrain", "c" * 16, {}, 4, "RUNNING")
    history.client.set_terminated(history.run("pipeline", "d" * 16, {}, 5, "RUNNING"), "FAILED")
    monkeypatch.setattr(module, "LOW_DISK", 10**18)
    paused = {"flow": "promote", "name": "version 2", "state": "Suspended", "since": None}
    monkeypatch.setattr(module, "running_flow_runs", lambda: [paused])
    failed, dead, approval, challenger, disk = read_status(history.store).to_do
    assert "failed: repeat its command" in failed
    assert "has no process" in dead
    assert approval == "flow run version 2 of promote waits for approval: resume it in the Prefect UI"
    assert (
        challenger
        == f"version {waiting.version} was not compared with the champion: uplift promote --store {history.store}"
    )
    assert "nearly full" in disk


def test_a_source_that_changed_after_its_newest_pipeline_run_is_named(history, tmp_path):
    changed, same, absent = tmp_path / "changed", tmp_path / "same", tmp_path / "absent"
    for folder in (changed, same):
        (folder / "subject").mkdir(parents=True)
    now = time.time() * 1000
    for began, source in ((now - 60_000, [same, changed]), (now + 60_000, [same, absent])):
        run = history.client.create_run(
            history.experiment, int(began), {STAGE_TAG: "pipeline"}, f"reads {source[1].name}"
        )
        history.client.set_tag(run.info.run_id, STORE_TAG, store_id(history.store))
        history.client.set_tag(run.info.run_id, SOURCES_TAG, json.dumps([str(path) for path in source]))
        history.client.set_terminated(run.info.run_id)
    history.client.set_tag(history.pipeline().run, SOURCES_TAG, '["cut')
    (line,) = read_status(history.store).to_do
    assert line.startswith(f"{changed} changed after pipeline run reads changed began: ")


def test_a_service_that_started_again_is_named_until_a_person_starts_the_stack(history):
    for service in ("prefect", "mlflow", "mlflow"):
        record_start(history.store, service)
    (line,) = read_status(history.store).to_do
    assert line.startswith("service mlflow restarted (2 starts in 24 hours, the last at 20")
    assert restarted(history.store, hours=-1) == {}
    forget_starts(history.store)
    assert read_status(history.store).to_do == []


def test_running_runs_are_listed_with_their_process_and_dead_ones_without(history):
    history.pipeline()
    living, dead = (history.run("pipeline", digit * 16, {}, 3, "RUNNING") for digit in "ab")
    training = history.run("pretrain", "c" * 16, {}, 4, "RUNNING")
    (history.store / "pipelines").mkdir(exist_ok=True)
    with (
        locked(owner_lock(history.store, living), "a pipeline"),
        locked(history.store / "runs" / f".{'c' * 16}.lock", "pretrain"),
        locked(history.store / ".promotion.lock", "a promotion"),
    ):
        status = read_status(history.store)
    owners = {run.run_id: run.lock_owner for run in status.running}
    assert f"process {os.getpid()} " in owners[living]
    assert f"process {os.getpid()} " in owners[training]
    assert owners[dead] is None
    assert set(status.locks) == {f"pipelines/.{living}.lock", f"runs/.{'c' * 16}.lock", ".promotion.lock"}
    assert not read_status(history.store).locks


@pytest.mark.parametrize("size", [0, 5_000, 200_000])
def test_a_truncated_database_is_reported_in_one_line_next_to_the_rest(history, size):
    history.pipeline()
    database = history.store / "mlflow.db"
    database.write_bytes(database.read_bytes()[:size])
    began = time.monotonic()
    status = read_status(history.store)
    assert time.monotonic() - began < 30
    (error,) = mlflow_errors(status)
    assert "mlflow.db" in error
    assert "\n" not in error
    assert status.disk["runs"]["count"] == 2
    assert database.stat().st_size == size


def test_an_mlflow_that_cannot_be_read_is_reported_in_one_line_next_to_the_rest(history, monkeypatch):
    history.pipeline()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused.getsockname()[1]}")
    status = read_status(history.store)
    assert not status.pipeline_runs
    assert len(mlflow_errors(status)) == 1
    assert status.disk["runs"]["count"] == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unknown://server")
    assert "MLflow failed" in mlflow_errors(read_status(history.store))[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere/mlflow.db")
    assert "does not exist" in mlflow_errors(read_status(history.store))[0]


def test_a_postgresql_that_refuses_the_connection_is_reported_at_once(history, monkeypatch):
    pytest.importorskip("psycopg2")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://user@127.0.0.1:{unused.getsockname()[1]}/mlflow")
    began = time.monotonic()
    assert "MLflow failed: (psycopg2.OperationalError)" in mlflow_errors(read_status(history.store))[0]
    assert time.monotonic() - began < 10


def test_a_relative_database_uri_is_read(history, monkeypatch):
    history.pipeline()
    folder = history.store.parent  # MLflow keeps a connection per URI, and a page has sqlite:///store/mlflow.db
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.name}/{history.store.name}/mlflow.db")
    status = read_status(history.store)
    assert len(status.pipeline_runs) == 1
    assert mlflow_errors(status) == []


class Silent(BaseHTTPRequestHandler):
    """A server that accepts requests and does not answer in time."""

    def do_POST(self):
        time.sleep(20)

    do_GET = do_POST

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def silent_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.shutdown, daemon=True).start()


def test_the_command_does_not_wait_for_a_silent_server_and_does_not_import_torch(history, silent_server):
    score(history, history.pipeline())
    code = (
        "import sys; from flows.cli import main; sys.argv[1:] = ['status', '--json', '--store', sys.argv[1]]\n"
        "import atexit; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\nmain()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PREFECT_API_URL"] = f"{silent_server}/api"
    command = [sys.executable, "-c", code, str(history.store)]
    silent_mlflow, began = environment | {"MLFLOW_TRACKING_URI": silent_server}, time.monotonic()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, env=variables, **pipes) for variables in (environment, silent_mlflow)]
    (out, errors), (other, _) = (run.communicate(timeout=120) for run in runs)
    assert time.monotonic() - began < 60  # MLflow's own limit is 120 s for each of 8 attempts
    assert [run.returncode for run in runs] == [0, 0]
    assert errors.splitlines()[-1] == "False"
    printed = json.loads(out.splitlines()[-1])
    assert printed["pipeline_runs"][0]["mpjpe_mm"] == 41.25
    assert printed["flow_runs"] is None
    assert f"Prefect: {silent_server}/api does not answer" in printed["errors"][0]
    printed = json.loads(other.splitlines()[-1])
    assert len(printed["errors"]) == 2
    assert printed["disk"]["runs"]["count"] == 2


def test_the_status_fits_one_screen(history, capsys):
    for _ in range(6):
        score(history, history.pipeline(), "not promoted over 1: " + "worse " * 60)
    history.crown(history.pipelines[0])
    history.run("pipeline", "a" * 16, {}, 9, "RUNNING")
    status = read_status(history.store)
    status.flow_runs = [{"flow": "promote", "name": "version 3", "state": "Suspended", "since": "2026-11-27T03:10:00Z"}]
    console = Console(width=100, markup=False, emoji=False)
    for line in status_lines(status):
        console.print(line)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) <= 40
    assert "41.2 mm" in printed
    assert "no process holds its lock" in printed
    assert "Prefect: promote version 3, suspended since 2026-11-27 03:10" in printed


def test_a_server_and_its_database_give_the_same_status(history, monkeypatch):
    port, uri = free_port(), f"sqlite:///{history.store / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--port", str(port)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    runs = [history.pipeline() for _ in range(2)]
    score(history, runs[1])
    history.crown(runs[0])
    own = read_status(history.store, 2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # the machine may be busy
    log = history.store.parent / "server.log"
    with serving([*command, "--workers", "1"], port, "/health", log, environment) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        from_server = read_status(history.store, 2)
    assert from_server.pipeline_runs == own.pipeline_runs
    assert from_server.versions == own.versions
    assert len(from_server.pipeline_runs) == 2
