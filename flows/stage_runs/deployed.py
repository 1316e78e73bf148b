"""Runs of deployments: what they are sent, whether there is such a deployment, and how long is waited for them.

Notable decisions:
- a run that no worker takes stays scheduled for ever, and so would who waits for it. It is waited for while its pool
  has a worker (which may be busy with another run), and `runtime.wait_minutes` without one;
- a run whose process died (Crashed: killed, out of memory, its machine gone) is sent again, `runtime.restarts` times:
  what it left in the store is where the new one begins, training at its `last` checkpoint. One that failed is not: it
  would fail again (its tasks were tried again already, unless what they were given is refused). Nor is one that a
  person cancelled.
"""

import time
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelling

from data_contracts.errors import InputError
from data_contracts.parameters import Runtime

POLL_SECONDS = 5.0
_WAITS = (StateType.SCHEDULED, StateType.PENDING)


def send(deployment: str, arguments: dict[str, Any], as_subflow: bool = False) -> FlowRun:
    """A run of a deployment, which nobody waits for; of its own, or a subflow of the run that sends it.

    Until it begins, and names itself, a subflow is called as the run that sends it: a queue says what waits there.
    """
    name = flow_run.name if as_subflow else None
    run: Any = run_deployment(deployment, flow_run_name=name, parameters=arguments, timeout=0, as_subflow=as_subflow)
    return run


def run_to_its_end(deployment: str, arguments: dict[str, Any], runtime: Runtime) -> FlowRun:
    """The completed run of a deployment, as a subflow of this one; sent again where its process died.

    Raises
    ------
    RuntimeError
        It did not complete, or its process died `runtime.restarts` times and once more; or its pool had no worker for
        `runtime.wait_minutes`, or it took longer than `runtime.stage_hours` in all: then it is cancelled.
    """
    until = time.monotonic() + 3600 * runtime.stage_hours
    for restart in range(runtime.restarts + 1):
        run = _wait(send(deployment, arguments, as_subflow=True), deployment, runtime, until)
        if run.state and run.state.is_completed():
            return run
        how = f"{deployment}, flow run {run.name}, ended {_in_a_line(run.state)}"
        if run.state is None or not run.state.is_crashed():
            raise RuntimeError(how)
        if restart < runtime.restarts:
            _log().warning(f"{how}; it is started again ({restart + 1} of {runtime.restarts}, runtime.restarts)")
    raise RuntimeError(f"{how}; it was started {runtime.restarts + 1} times (runtime.restarts={runtime.restarts})")


def _wait(run: FlowRun, deployment: str, runtime: Runtime, until: float) -> FlowRun:
    """The run when it has ended, however it did; without a worker, or after `until`, it is cancelled."""
    with get_client(sync_client=True) as client:
        pool = client.read_deployment_by_name(deployment).work_pool_name
        attended = time.monotonic()
        while not (run.state and run.state.is_final()):
            waits = run.state is None or run.state.type in _WAITS
            if not waits or pool is None or _has_worker(client, pool):
                attended = time.monotonic()
            reason = None
            if time.monotonic() - attended > 60 * runtime.wait_minutes:
                reason = (
                    f"work pool {pool} has no worker for {runtime.wait_minutes:g} minutes (runtime.wait_minutes):"
                    f" prefect worker start --pool {pool}"
                )
            elif time.monotonic() > until:
                reason = f"it has not ended after {runtime.stage_hours:g} hours (runtime.stage_hours)"
            if reason:
                client.set_flow_run_state(run.id, Cancelling(message=reason))
                raise RuntimeError(f"{deployment}, flow run {run.name}: {reason}")
            time.sleep(POLL_SECONDS)
            run = client.read_flow_run(run.id)
    return run


def _log() -> Any:
    """Of the run that waits, so that its page says it."""
    return get_run_logger() if FlowRunContext.get() else get_logger("uplift")


def _in_a_line(state: State[Any] | None) -> str:
    """`Failed: why`, as the first line of who waited for it shows it."""
    if state is None:
        return "without a state"
    return " ".join(f"{state.name}: {state.message or 'no reason given'}".split())


def _has_worker(client: SyncPrefectClient, pool: str) -> bool:
    """Whether the server heard lately of a worker of that pool."""
    try:
        return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))
    except ObjectNotFound:
        return False


def must_be_deployed(deployment: str) -> None:
    """Refuses what will be sent to a deployment that is not there, before the work that leads to it.

    Raises
    ------
    InputError
        This Prefect server has no such deployment.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise InputError(
                f"{deployment}: this Prefect server has no such deployment: prefect deploy --all"
            ) from error
