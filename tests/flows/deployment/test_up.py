"""One `uplift up` without a password of the user, with a webhook, from its start to Ctrl-C.

The stack has a worker for the pool cuda and none for cpu, so that nightly runs stay scheduled.
"""

import shlex
import shutil
import signal
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import UUID

import psutil
import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType, WorkPoolStatus
from prefect.client.schemas.sorting import TaskRunSort
from prefect.events import emit_event
from prefect.states import Cancelling, Failed, Late, Pending, Running, Suspended

from data_contracts.parameters import ConvertParameters, Runtime
from data_contracts.parameters.presets import preset_and_overrides
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from flows import dispatch
from flows.deployment import automations
from flows.deployment.settings import PASSWORD_FILE, ROOT
from flows.prefect_ui.events import PROMOTED, ROLLED_BACK, emit_model_event
from tasks.stage import Context, get_or_compute
from tasks.synthetic.motion import SYNTHESISE
from tests.flows.deployment.conftest import request, services_of, stack, terminal_of, uplift, wait_for

MLFLOW_PATHS = ("/", "/version", "/graphql", "/get-artifact", "/ajax-api/2.0/mlflow/experiments/search")
MLFLOW_PATHS += ("/api/2.0/mlflow-artifacts/artifacts", "/api/2.0/mlflow/users/get")


@pytest.fixture(scope="module")
def running(folder, webhook):
    with stack(folder, workers="cuda", notify=webhook[0]) as (settings, process):
        yield settings, process


@pytest.fixture
def settings(running):
    return running[0]


@pytest.fixture
def client(running):
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def train(client, settings, windows_folder, parameters) -> Callable[[int], UUID]:
    """Start a pretraining that would take hours, and return its flow run once it has written a checkpoint."""
    with open_stage(settings.store, StageKey("windows", "convert", ConvertParameters(window=9, stride=9), {})) as stage:
        if not stage.cached:
            shutil.copytree(windows_folder, stage.folder, dirs_exist_ok=True)
            stage.counts["windows"] = {"train": 40, "val": 20, "test": 0}

    def start(seed: int) -> UUID:
        changes = {"max_epochs": 100_000, "patience": 100_000, "seed": seed}
        changed = parameters.model_copy(update={"pretrain": parameters.pretrain.model_copy(update=changes)})
        wanted = {"windows": str(stage.folder), "store": str(settings.store), **preset_and_overrides(changed)}
        deployment = client.read_deployment_by_name("pretrain/pretrain-backbone")
        run = client.create_flow_run_from_deployment(deployment.id, parameters=wanted).id
        before = {*settings.store.glob("runs/.*.partial/last.safetensors")}
        wait_for(lambda: {*settings.store.glob("runs/.*.partial/last.safetensors")} - before, 180)
        return run

    return start


@pytest.fixture
def changed_automations(client, settings) -> Iterator[None]:
    """Install the automations of the settings again after a test that changes them."""
    yield
    automations.install(client, settings)


def test_a_password_is_generated_and_both_servers_require_it(running, folder):
    settings, process = running
    password = settings.password()
    assert len(password) >= 12
    for url in (f"{settings.prefect_url}/api/admin/version", *(settings.mlflow_url + path for path in MLFLOW_PATHS)):
        assert request(url)[0] == request(url, "a wrong password")[0] == 401, url
        assert request(url, password)[0] != 401, url
    for page in (settings.prefect_url, settings.mlflow_url):
        assert "<html" in request(page, password)[1].lower()
    assert password not in terminal_of(folder)
    assert str(settings.store / PASSWORD_FILE) in terminal_of(folder)
    assert settings.prefect_url in terminal_of(folder)
    assert settings.mlflow_url in terminal_of(folder)
    assert not [one.cmdline() for one in services_of(process) if password in " ".join(one.cmdline())]


def test_no_other_user_can_read_databases_and_password(settings):
    for name in ("prefect.db", "mlflow.db", "mlflow-auth.db", PASSWORD_FILE):
        assert stat.S_IMODE((settings.store / name).stat().st_mode) == 0o600, name
    for name in ("prefect.db", "mlflow.db"):
        with closing(sqlite3.connect(settings.store / name)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_terminal_uses_the_servers(settings):
    exported = dict(shlex.split(line)[1].split("=", 1) for line in uplift(settings, "env").stdout.splitlines() if line)
    assert exported["PREFECT_API_AUTH_STRING"] == f"uplift:{settings.password()}"
    assert exported["MLFLOW_TRACKING_URI"] == settings.mlflow_url
    shown = uplift(settings, "status", "--json", **exported)
    assert shown.returncode == 0, shown.stderr


def test_a_wrong_password_is_one_line(settings):
    refused = uplift(settings, "watch", UPLIFT_API_PASSWORD="a wrong password")
    assert refused.returncode == 2
    assert "401 Unauthorized" in refused.stderr.splitlines()[-1]
    assert "set PREFECT_API_URL and UPLIFT_API_PASSWORD" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_a_store_has_one_stack_at_a_time(settings):
    refused = uplift(settings, "up")
    assert refused.returncode == 2
    assert "a stack runs on this store already, processes " in refused.stderr


def test_all_services_listen_on_loopback_only(running):
    listening = [
        connection.laddr.ip
        for process in services_of(running[1])
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2
    assert set(listening) == {"127.0.0.1"}


def test_pools_with_limits_and_every_deployment_are_registered(client):
    wait_for(lambda: client.read_work_pool("cuda").status == WorkPoolStatus.READY)  # its worker is online
    assert client.read_work_pool("cuda").concurrency_limit == 1
    assert client.read_work_pool("cpu").concurrency_limit == 4
    for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        flow = entry["entrypoint"].partition(":")[2]
        client.read_deployment_by_name(f"{flow}/{entry['name']}")


def test_the_graph_of_a_flow_run_has_its_computed_and_its_cached_stages(client, settings, parameters):
    @flow
    def synthesise_twice() -> None:
        for _ in range(2):
            get_or_compute(SYNTHESISE, {}, Context(settings.store, parameters, tracked=False))

    state = synthesise_twice(return_state=True)
    of_run = FlowRunFilter.model_validate({"id": {"any_": [state.state_details.flow_run_id]}})
    order = TaskRunSort.EXPECTED_START_TIME_ASC
    wait_for(lambda: len(client.read_task_runs(flow_run_filter=of_run)) == 2)  # the server stores them later
    computed, cached = client.read_task_runs(flow_run_filter=of_run, sort=order)
    assert (computed.state.name, cached.state.name) == ("Completed", "Cached")
    assert computed.name.startswith("synthesise-")
    assert cached.name.startswith("synthesise-")
    assert cached.state.message.startswith(f"{settings.store}/synthetic/")


def test_a_second_nightly_run_waits_and_the_limit_is_kept_in_a_file(client, settings):
    nightly = client.read_deployment_by_name("pipeline/nightly")
    runs = [client.create_flow_run_from_deployment(nightly.id) for _ in range(2)]
    first, second = [client.set_flow_run_state(run.id, Pending()).state for run in runs]
    assert first.type == StateType.PENDING
    assert second.name == "AwaitingConcurrencySlot"
    lease = first.state_details.deployment_concurrency_lease_id
    assert (settings.store.parent / "home" / "concurrency_leases" / f"{lease}.json").is_file()
    for run in runs:
        client.delete_flow_run(run.id)


def test_a_stage_for_a_pool_without_a_worker_fails_after_wait_minutes_and_is_cancelled(client, monkeypatch):
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"clips-to-windows.*work pool cpu has no worker for 0\.05 min.*--pool cpu"):
        dispatch.run_to_its_end("convert/clips-to-windows", {"clips": "0000"}, Runtime(wait_minutes=0.05))
    assert time.monotonic() - started < 30
    of_cpu = [run for run in client.read_flow_runs() if run.work_pool_name == "cpu" and not run.auto_scheduled]
    assert [run.state.type for run in of_cpu if run.parameters.get("clips") == "0000"] == [StateType.CANCELLED]


def test_a_training_run_that_a_person_cancels_is_never_crashed(client, train):
    run = train(seed=1)
    client.set_flow_run_state(run, Cancelling())
    wait_for(lambda: client.read_flow_run(run).state.is_final(), 90)
    states = [state.type for state in client.read_flow_run_states(run)]
    assert StateType.CRASHED not in states
    assert states[-2:] == [StateType.CANCELLING, StateType.CANCELLED]


def test_a_worker_survives_a_deleted_run_a_missing_file_and_a_failed_stage(running, client, train, monkeypatch):
    worker = {one.pid for one in services_of(running[1]) if "worker start --pool cuda" in " ".join(one.cmdline())}
    assert worker
    run = train(seed=3)
    client.delete_flow_run(run)
    flow_id, place = client.create_flow_from_name("removed"), {"path": str(ROOT), "work_pool_name": "cuda"}
    removed = client.create_deployment(flow_id, "removed", entrypoint="flows/removed.py:removed", **place)
    after = client.create_flow_run_from_deployment(removed).id
    wait_for(lambda: client.read_flow_run(after).state.is_final(), 120)
    assert client.read_flow_run(after).state.type == StateType.CRASHED
    of_run = [one for one in services_of(running[1]) if one.environ().get("PREFECT__FLOW_RUN_ID") == str(run)]
    of_run[0].terminate()  # Prefect leaves the process of a deleted run
    assert psutil.wait_procs(of_run, timeout=60)[1] == []
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.5)
    with pytest.raises(RuntimeError, match=r"baselines/fit-baselines, flow run .*, ended Failed: "):
        dispatch.run_to_its_end("baselines/fit-baselines", {"windows": "not there"}, Runtime(wait_minutes=5))
    assert worker <= {one.pid for one in services_of(running[1])}


def test_failure_approval_promotion_and_rollback_are_sent_to_the_webhook(client, webhook):
    _, received = webhook
    nightly = client.read_deployment_by_name("pipeline/nightly")
    run = client.create_flow_run_from_deployment(nightly.id)
    client.set_flow_run_state(run.id, Failed(message="out of luck"), force=True)
    asked = client.create_flow_run_from_deployment(client.read_deployment_by_name("promote/promote-challenger").id)
    client.set_flow_run_state(asked.id, Suspended(timeout_seconds=600), force=True)
    emit_model_event(PROMOTED, "version 4 is champion over version 3")
    emit_model_event(ROLLED_BACK, "rolled back from version 4 to 3")
    expected = {
        f"{run.name} is Failed: out of luck": "pose-uplift: nightly run failed",
        f"/runs/flow-run/{run.id}": "pose-uplift: nightly run failed",
        asked.name: "pose-uplift: challenger waits for approval",
        "version 4 is champion over version 3": "",
        "rolled back from version 4 to 3": "",
    }

    def arrived(text: str, subject: str) -> bool:
        return any(text in message["body"] and subject in message["subject"] for message in received)

    wait_for(lambda: all(arrived(text, subject) for text, subject in expected.items()))


@pytest.mark.usefixtures("changed_automations")
def test_a_silent_run_crashes_and_a_late_nightly_run_is_notified(settings, client, webhook):
    _, received = webhook
    times = {"silent_minutes": 0.17, "late_minutes": 0.17, "missing_hours": 0.003}  # 10 s: the least for Prefect
    quick = settings.model_copy(update=times)
    before = automations.install(client, quick)
    assert automations.install(client, quick) == before
    nightly, other = (client.read_deployment_by_name(name) for name in ("pipeline/nightly", "convert/clips-to-windows"))
    silent = client.create_flow_run_from_deployment(other.id, parameters={"clips": "silent"})
    client.set_flow_run_state(silent.id, Running(), force=True)
    emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{silent.id}"})
    late = client.create_flow_run_from_deployment(nightly.id)
    client.set_flow_run_state(late.id, Late(), force=True)  # the server does so after 30 s
    wait_for(lambda: client.read_flow_run(silent.id).state.type == StateType.CRASHED)
    assert "no heartbeat" in client.read_flow_run(silent.id).state.message
    wait_for(
        lambda: any(late.name in message["body"] and "did not start" in message["subject"] for message in received), 120
    )
    wait_for(lambda: any("no nightly run" in message["subject"] for message in received))


@pytest.mark.usefixtures("changed_automations")
def test_notifications_go_to_an_existing_block_only(settings, client):
    named = settings.model_copy(update={"notify": "custom-webhook/uplift"})
    assert len(automations.install(client, named)) == 6
    assert all(one.description for one in client.read_automations())  # the UI shows "A custom trigger" for most
    with pytest.raises(ValueError, match="slack-webhook/nobody: expected TYPE/NAME from `prefect block ls`"):
        automations.install(client, settings.model_copy(update={"notify": "slack-webhook/nobody"}))
    never = named.model_copy(update={"missing_hours": 0})
    assert set(automations.install(client, named)) - set(automations.install(client, never)) == {
        "uplift: no nightly run"
    }
    for automation in client.read_automations():
        client.pause_automation(automation.id)
    silent = settings.model_copy(update={"notify": None, "silent_minutes": 20})
    assert automations.install(client, silent) == ["uplift: run without a heartbeat"]
    (left,) = client.read_automations()
    assert left.trigger.within.total_seconds() == 1200
    assert not left.enabled  # a changed automation stays paused


@pytest.mark.runs_last
def test_ctrl_c_records_the_end_of_a_flow_run_and_leaves_no_process(running, client, train):
    settings, process = running
    run = train(seed=2)
    services = services_of(process)
    assert len(services) >= 10
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    _, alive = psutil.wait_procs(services, timeout=10)
    assert alive == []
    with closing(sqlite3.connect(settings.store / "prefect.db")) as database:
        rows = database.execute("SELECT state_type FROM flow_run WHERE id = ?", (str(run),)).fetchall()
    assert rows == [("CRASHED",)]
