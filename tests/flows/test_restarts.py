"""Crashed runs of deployments are sent again; failed and cancelled runs are not."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Cancelled, Completed, Crashed, Failed, Running

from data_contracts.parameters import Runtime
from flows import dispatch
from tasks.stage_runs.prefect_runs import LOGGER

STAGE = "sleep/away"
KILLED = Crashed(message="Flow run process exited\nwith non-zero status code -9.")


@flow
def sleep() -> None:
    """Does nothing."""


@pytest.fixture
def worker(monkeypatch) -> Callable[..., Iterator[list[FlowRun]]]:
    """Return a simulated worker whose runs end in the given states; it yields its runs."""
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.1)
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="away", type="process"))
        deployment = client.create_deployment(client.create_flow(sleep), "away", work_pool_name="away")
        of_stage = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        for run in client.read_flow_runs(deployment_filter=of_stage):  # left by another test
            client.delete_flow_run(run.id)

    @contextmanager
    def at_work(*ends: State) -> Iterator[list[FlowRun]]:
        got: list[FlowRun] = []
        over = threading.Event()

        def work() -> None:
            with get_client(sync_client=True) as client:
                while not over.wait(0.1):
                    for run in client.read_flow_runs(deployment_filter=of_stage):
                        if run.state.is_scheduled() and len(got) < len(ends):
                            client.set_flow_run_state(run.id, Running(), force=True)
                            client.set_flow_run_state(run.id, ends[len(got)].fresh_copy(), force=True)
                            got.append(run)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield got
        finally:
            over.set()
            thread.join()

    return at_work


def test_a_crashed_stage_is_started_again_and_logged(worker, caplog):
    with worker(KILLED, KILLED, Completed()) as got, caplog.at_level(logging.WARNING, LOGGER):
        run = dispatch.run_to_its_end(STAGE, {}, Runtime(restarts=2))
    assert run.id == got[2].id
    assert len({one.id for one in got}) == 3
    lines = list(dict.fromkeys(one.message for one in caplog.records if "started again" in one.message))
    assert [line.partition("; ")[2] for line in lines] == [
        "it is started again (1 of 2, runtime.restarts)",
        "it is started again (2 of 2, runtime.restarts)",
    ]
    assert got[0].name in lines[0]


def test_a_stage_that_always_crashes_fails_the_pipeline_in_one_line(worker):
    with worker(KILLED, KILLED, Completed()) as got, pytest.raises(RuntimeError) as failure:
        dispatch.run_to_its_end(STAGE, {}, Runtime(restarts=1))
    assert len(got) == 2
    assert str(failure.value) == (
        f"{STAGE}, flow run {got[1].name}, ended Crashed: Flow run process exited with non-zero status code -9.;"
        " the flow run was started 2 times (runtime.restarts=1)"
    )


@pytest.mark.parametrize("end", [Failed(message="refused:\nno such folder"), Cancelled(message="by a person")])
def test_a_failed_or_cancelled_stage_is_not_started_again(worker, end):
    with worker(end, Completed()) as got, pytest.raises(RuntimeError) as failure:
        dispatch.run_to_its_end(STAGE, {}, Runtime())
    assert len(got) == 1
    why = " ".join(end.message.split())
    assert str(failure.value) == f"{STAGE}, flow run {got[0].name}, ended {end.name}: {why}"


def test_restarts_are_bounded():
    assert Runtime().restarts == 2
    with pytest.raises(ValueError, match="restarts"):
        Runtime(restarts=-1)


@flow(flow_run_name="demo synthetic")
def pipeline_run() -> str:
    """Send a stage and return the name of the waiting run."""
    return dispatch.send(STAGE, {}, as_subflow=True).name


def test_a_waiting_stage_has_the_name_of_its_pipeline_run(worker):
    with worker():
        assert pipeline_run() == "demo synthetic"
