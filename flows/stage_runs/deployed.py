"""Send runs to deployments and wait for their end.

- A pool without a worker never starts a run: the wait ends after `runtime.wait_minutes` without a worker.
- A crashed run (killed, out of memory, machine lost) is sent again, up to `runtime.restarts` times. The new run
  continues from the store, training from its `last` checkpoint.
- A failed run is not sent again, because its tasks were retried already. Neither is a cancelled run.
"""

import time
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from data_contracts.errors import InputError
from data_contracts.parameters import Runtime
from tasks.stage_runs.prefect_runs import run_logger

POLL_SECONDS = 5.0
_WAITS = (StateType.SCHEDULED, StateType.PENDING)


def send(deployment: str, arguments: dict[str, Any], as_subflow: bool = False) -> FlowRun:
    """Create a run of a deployment and return it without waiting."""
    name = flow_run.name if as_subflow else None  # until the subflow starts and names itself
    run: Any = run_deployment(deployment, flow_run_name=name, parameters=arguments, timeout=0, as_subflow=as_subflow)
    return run


def run_to_its_end(deployment: str, arguments: dict[str, Any], runtime: Runtime) -> FlowRun:
    """Run a deployment as a subflow of this run, again after crashes, and return the completed run.

    Raises
    ------
    RuntimeError
        The run failed, or crashed `runtime.restarts` + 1 times. Or its pool had no worker for `runtime.wait_minutes`,
        or it took longer than `runtime.stage_hours` in all; then the run is cancelled.
    """
    until = time.monotonic() + 3600 * runtime.stage_hours
    for restart in range(runtime.restarts + 1):
        run = _wait(send(deployment, arguments, as_subflow=True), deployment, runtime, until)
        if run.state and run.state.is_completed():
            return run
        end = f"{deployment}, flow run {run.name}, ended {_in_a_line(run.state)}"
        if run.state is None or not run.state.is_crashed():
            raise RuntimeError(end)
        if restart < runtime.restarts:
            run_logger().warning(f"{end}; it is started again ({restart + 1} of {runtime.restarts}, runtime.restarts)")
    raise RuntimeError(f"{end}; it was started {runtime.restarts + 1} times (runtime.restarts={runtime.restarts})")


def _wait(run: FlowRun, deployment: str, runtime: Runtime, until: float) -> FlowRun:
    """Return the run in its final state; cancel it if no worker takes it, or at the time `until`."""
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


def _in_a_line(state: State[Any] | None) -> str:
    """Return name and message of a state in one line."""
    if state is None:
        return "without a state"
    return " ".join(f"{state.name}: {state.message or 'no reason given'}".split())


def _has_worker(client: SyncPrefectClient, pool: str) -> bool:
    """Return whether the server has a recent heartbeat of a worker of that pool."""
    try:
        return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))
    except ObjectNotFound:
        return False


def must_be_deployed(deployment: str) -> None:
    """Refuse a deployment that does not exist, before the work that leads to it.

    Raises
    ------
    InputError
        The Prefect server does not have the deployment.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise InputError(
                f"{deployment}: this Prefect server has no such deployment; register all with: prefect deploy --all"
            ) from error
