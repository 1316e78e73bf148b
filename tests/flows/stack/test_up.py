"""`uplift up` on SQLite with a password, from start to Ctrl-C; what it registers, refuses and tells.

It has a worker for pool cuda and none for cpu, so that nights stay where they are.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.states import Failed, Pending, Running, Suspended

from data_contracts.parameters import Runtime
from flows.prefect_ui.events import PROMOTED, ROLLED_BACK, say_of_model
from flows.stack import automations, registering
from flows.stack.settings import ROOT
from flows.stack.up import MARK
from flows.stage_runs import deployed
from tests.flows.stack.conftest import PASSWORD, said, stack, wait_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def running(folder, webhook):
    with stack(folder, api_password=PASSWORD, workers="cuda", notify=webhook[0]) as (settings, process):
        yield settings, process


@pytest.fixture
def settings(running):
    return running[0]


@pytest.fixture
def client(running):
    with get_client(sync_client=True) as client:
        yield client


def status(url: str, credentials: str | None = None) -> int:
    request = urllib.request.Request(url)
    if credentials:
        request.add_header("Authorization", f"Basic {b64encode(credentials.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def ours(process: subprocess.Popen) -> list[psutil.Process]:
    """Every process of the stack, found by the mark that its parts bear."""
    parts = psutil.Process(process.pid).children(recursive=True)
    marks = {environment(part).get(MARK) for part in parts} - {None}
    assert len(marks) == 1
    return [one for one in psutil.process_iter() if environment(one).get(MARK) in marks]


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_both_servers_refuse_who_has_no_password(settings):
    prefect, mlflow = f"{settings.prefect_url}/api/version", f"{settings.mlflow_url}/version"
    for url in (
        prefect,
        mlflow,
        f"{settings.mlflow_url}/",
        f"{settings.mlflow_url}/ajax-api/2.0/mlflow/experiments/search",
    ):
        assert status(url) == status(url, "uplift:wrong") == 401
    assert status(prefect, f"uplift:{PASSWORD}") == status(mlflow, f"uplift:{PASSWORD}") == 200


def test_the_worker_has_the_password_and_is_there(settings, folder):
    assert registering.online_workers("cuda")
    assert settings.prefect_url in said(folder)
    assert settings.mlflow_url in said(folder)
    assert {file.name for file in settings.logs.iterdir()} == {"prefect.log", "mlflow.log", "worker-cuda.log"}


def test_everything_listens_on_loopback_only(running):
    listening = [
        connection.laddr.ip
        for process in ours(running[1])
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2
    assert set(listening) == {"127.0.0.1"}


def test_both_databases_keep_a_write_ahead_log(settings):
    for name in ("prefect.db", "mlflow.db"):
        with closing(sqlite3.connect(settings.root / name)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_pools_limits_and_every_deployment_are_there(client):
    assert client.read_work_pool("cuda").concurrency_limit == 1
    assert client.read_work_pool("cpu").concurrency_limit == 4
    for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        flow = entry["entrypoint"].partition(":")[2]
        client.read_deployment_by_name(f"{flow}/{entry['name']}")


def test_a_second_night_waits_for_the_first_and_that_outlasts_the_server(client, settings):
    nightly = client.read_deployment_by_name("pipeline/nightly")
    runs = [client.create_flow_run_from_deployment(nightly.id) for _ in range(2)]
    first, second = [client.set_flow_run_state(run.id, Pending()).state for run in runs]
    assert first.type == StateType.PENDING
    assert second.name == "AwaitingConcurrencySlot"
    lease = first.state_details.deployment_concurrency_lease_id
    assert (settings.root / "prefect" / "concurrency_leases" / f"{lease}.json").is_file()
    for run in runs:
        client.delete_flow_run(run.id)


def test_a_stage_for_a_pool_without_a_worker_fails_after_so_long_and_is_taken_back(client, monkeypatch):
    monkeypatch.setattr(deployed, "POLL_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"convert/cpu.*work pool cpu has no worker for 0\.05 minutes.*--pool cpu"):
        deployed.run_to_its_end("convert/cpu", {"clips": "0000"}, Runtime(wait_minutes=0.05))
    assert time.monotonic() - started < 30
    of_cpu = [run for run in client.read_flow_runs() if run.work_pool_name == "cpu" and not run.auto_scheduled]
    assert [run.state.type for run in of_cpu if run.parameters.get("clips") == "0000"] == [StateType.CANCELLED]


def test_what_a_worker_is_sent_and_fails_fails_who_waits_for_it(running, monkeypatch):
    monkeypatch.setattr(deployed, "POLL_SECONDS", 0.5)
    with pytest.raises(RuntimeError, match=r"baselines/cuda, flow run .*, ended Failed: "):
        deployed.run_to_its_end("baselines/cuda", {"windows": "not there"}, Runtime(wait_minutes=1))


def test_a_failed_night_a_question_another_champion_and_a_way_back_are_told_to_the_webhook(client, webhook):
    _, got = webhook
    nightly = client.read_deployment_by_name("pipeline/nightly")
    run = client.create_flow_run_from_deployment(nightly.id)
    client.set_flow_run_state(run.id, Failed(message="out of luck"), force=True)
    asked = client.create_flow_run_from_deployment(client.read_deployment_by_name("promote/cpu").id)
    client.set_flow_run_state(asked.id, Suspended(timeout_seconds=600), force=True)
    say_of_model(PROMOTED, "version 4 is champion over version 3")
    say_of_model(ROLLED_BACK, "rolled back from version 4 to 3")
    wait_for(lambda: len(got) >= 4)
    told = {message["subject"]: message["body"] for message in got}
    assert f"{run.name} is Failed: out of luck" in told["pose-uplift: a night failed"]
    assert f"/runs/flow-run/{run.id}" in told["pose-uplift: a night failed"]
    assert asked.name in told["pose-uplift: a challenger waits for approval"]
    bodies = [message["body"] for message in got]
    assert {"version 4 is champion over version 3", "rolled back from version 4 to 3"} <= set(bodies)


def test_a_run_without_a_sign_of_life_crashes_and_a_night_that_does_not_start_is_told(settings, client, webhook):
    _, got = webhook
    times = {"silent_minutes": 0.2, "late_minutes": 0.2, "night_hours": 0.004}  # less than a person may ask for
    quick = settings.model_copy(update=times)
    before = automations.install(quick)
    assert automations.install(quick) == before
    nightly, other = (client.read_deployment_by_name(name) for name in ("pipeline/nightly", "convert/cpu"))
    silent = client.create_flow_run_from_deployment(other.id, parameters={"clips": "0000"})
    client.set_flow_run_state(silent.id, Running(), force=True)
    emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{silent.id}"})
    late = client.create_flow_run_from_deployment(nightly.id)
    wait_for(lambda: client.read_flow_run(silent.id).state.type == StateType.CRASHED)
    assert "no sign of life" in client.read_flow_run(silent.id).state.message
    wait_for(
        lambda: any(late.name in message["body"] and "did not start" in message["subject"] for message in got), 120
    )
    wait_for(lambda: any("no night began" in message["subject"] for message in got))


def test_who_is_told_may_be_a_block_that_is_there_and_no_other(settings, client):
    named = settings.model_copy(update={"notify": "custom-webhook/uplift"})
    assert len(automations.install(named)) == 6
    assert all(one.description for one in client.read_automations())  # of most the UI says "A custom trigger"
    with pytest.raises(ValueError, match="slack-webhook/nobody: the server has no such block"):
        automations.install(settings.model_copy(update={"notify": "slack-webhook/nobody"}))
    assert automations.install(settings.model_copy(update={"notify": None})) == [
        "uplift: a run without a sign of life is crashed"
    ]
    assert len(client.read_automations()) == 1


def test_a_second_stack_on_its_ports_or_its_store_is_refused(settings):
    asked = {**os.environ, "UPLIFT_PREFECT_PORT": str(settings.prefect_port), "UPLIFT_STORE": settings.store}
    for told, reason in (
        (asked, f"127.0.0.1:{settings.prefect_port}: Address already in use; UPLIFT_PREFECT_PORT names another"),
        (asked | {"UPLIFT_PREFECT_PORT": "1", "UPLIFT_MLFLOW_PORT": "2"}, "its servers are up already, by process "),
    ):
        refused = subprocess.run(
            [sys.executable, "-m", "flows.command_line", "up"], env=told, cwd=ROOT, capture_output=True, text=True
        )
        assert refused.returncode == 2
        assert reason in refused.stderr


@pytest.mark.runs_last
def test_ctrl_c_leaves_no_process(running):
    settings, process = running
    left = ours(process)
    assert len(left) >= 4
    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 0
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
    assert status_of_nobody(settings.prefect_url)


def status_of_nobody(url: str) -> bool:
    try:
        return not status(url)
    except urllib.error.URLError:
        return True
