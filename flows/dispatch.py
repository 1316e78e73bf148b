"""Dispatch the stages of a pipeline: read each result from the store, else start a flow run here or on a deployment.

- The flow of a stage gets the digest that its result must have. A worker with other presets, inputs or code therefore
  fails before it computes anything. The result of a deployment is read from the store and never computed here.
- A pool without a worker never starts a run. After `runtime.wait_minutes` without a worker, the run is cancelled.
- A crashed run (killed, out of memory, machine lost) is started again, up to `runtime.restarts` times. The new run
  reuses the results in the store, and a training continues from its `last` checkpoint.
- A failed run is not started again, because its tasks were retried already. A cancelled run is not started again.
"""

import json
import platform
import time
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from data_contracts.errors import InputError
from data_contracts.parameters import Runtime
from data_contracts.parameters.presets import preset_and_overrides
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import StageResult, find_stage
from data_contracts.store.manifests import read_manifest
from flows.prefect_ui.artifacts import result_key, show_stage
from flows.stage_flows import FLOWS
from flows.stages import run_stage
from tasks.stage import Context
from tasks.stage_runs.prefect_runs import run_logger

DEPLOYMENTS = {  # of the stages that a pipeline can send to workers
    "pretrain": "pretrain/pretrain-backbone",
    "finetune": "finetune/finetune-lifter",
    "baselines": "baselines/fit-baselines",
    "evaluate": "evaluate/evaluate-lifter",
}
POLL_SECONDS = 5.0
SECONDS_TO_APPEAR = 60.0  # the cache of a network file system may hide a new folder for so long


def dispatch_stage(name: str, context: Context, on_workers: bool = False, **inputs: Any) -> StageResult:
    """Return the result of a pipeline's stage from the store, or of a flow run in this process or on workers.

    Parameters
    ----------
    on_workers
        Compute the stage in a run of its deployment (`DEPLOYMENTS`) instead of this process.
    inputs
        Inputs of the stage, as in the table of `flows.stages`.

    Raises
    ------
    InputError
        An input was changed after the pipeline run began.
    RuntimeError
        The run of the deployment failed, found no worker, or wrote its result to another store.
    """

    def start(key: StageKey) -> StageResult:
        shared = {"store": str(context.store), "parent_run": context.parent_run, "digest": key.digest}
        arguments = {**inputs, **preset_and_overrides(context.parameters), **shared}
        if not on_workers:
            return FLOWS[name](**arguments)
        run = run_to_its_end(DEPLOYMENTS[name], arguments, context.parameters.runtime)
        return _find(context, key, run)

    result = run_stage(name, context, elsewhere=start, **inputs)
    if result.cached:
        show_stage(result)
    return result


def run_to_its_end(deployment: str, arguments: dict[str, Any], runtime: Runtime) -> FlowRun:
    """Run a deployment as a subflow of this run, restart it after crashes, and return the completed run.

    Raises
    ------
    RuntimeError
        The run failed, or crashed `runtime.restarts` + 1 times. Or it was cancelled, because its pool had no worker for
        `runtime.wait_minutes` or all its starts together took longer than `runtime.stage_hours`.
    """
    until = time.monotonic() + 3600 * runtime.stage_hours
    for restart in range(runtime.restarts + 1):
        run, state = _wait(send(deployment, arguments, as_subflow=True), deployment, runtime, until)
        if state.is_completed():
            return run
        reason = " ".join((state.message or "no reason given").split())
        end = f"{deployment}, flow run {run.name}, ended {state.name}: {reason}"
        if not state.is_crashed():
            raise RuntimeError(end)
        if restart < runtime.restarts:
            run_logger().warning(f"{end}; it is started again ({restart + 1} of {runtime.restarts}, runtime.restarts)")
    times = runtime.restarts + 1
    raise RuntimeError(f"{end}; the flow run was started {times} times (runtime.restarts={runtime.restarts})")


def send(deployment: str, arguments: dict[str, Any], as_subflow: bool = False) -> FlowRun:
    """Create a run of a deployment and return it without waiting.

    Until a subflow starts and gets its own name, the subflow has the name of its parent run, so that the queue shows
    the waiting pipeline run.
    """
    name = flow_run.name if as_subflow else None
    run: Any = run_deployment(deployment, flow_run_name=name, parameters=arguments, timeout=0, as_subflow=as_subflow)
    return run


def must_be_deployed(deployment: str) -> None:
    """Raise an InputError if the Prefect server does not have the deployment; call this before the stages run."""
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise InputError(
                f"{deployment}: this Prefect server has no such deployment; register all with: prefect deploy --all"
            ) from error


def _wait(run: FlowRun, deployment: str, runtime: Runtime, until: float) -> tuple[FlowRun, State[Any]]:
    """Return the run and its final state; cancel the run if no worker starts it, or at the time `until`."""
    with get_client(sync_client=True) as client:
        pool = client.read_deployment_by_name(deployment).work_pool_name
        attended = time.monotonic()
        while (state := run.state) is None or not state.is_final():
            waits = state is None or state.type in (StateType.SCHEDULED, StateType.PENDING)
            if not waits or pool is None or client.read_work_pool(pool).status != WorkPoolStatus.NOT_READY:
                attended = time.monotonic()
            reason = None
            if time.monotonic() - attended > 60 * runtime.wait_minutes:
                reason = (
                    f"work pool {pool} has no worker for {runtime.wait_minutes:g} minutes (runtime.wait_minutes); start"
                    f" one: prefect worker start --pool {pool}"
                )
            elif time.monotonic() > until:
                reason = f"it has not ended after {runtime.stage_hours:g} hours (runtime.stage_hours)"
            if reason:
                client.set_flow_run_state(run.id, Cancelling(message=reason))
                raise RuntimeError(f"{deployment}, flow run {run.name}: {reason}")
            time.sleep(POLL_SECONDS)
            run = client.read_flow_run(run.id)
    return run, state


def _find(context: Context, key: StageKey, run: FlowRun) -> StageResult:
    """Return the result that the run of a deployment wrote into the store; raise a RuntimeError if there is none."""
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while (stage := find_stage(context.store, key)) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"flow run {run.name} of {key.name} completed, but {context.store / key.kind / key.digest} is absent on"
                f" {platform.node()}. The worker wrote its result to {_place_of(key.name, run)}. Both machines need the"
                " same store at the same path, and the same version of this project"
            )
        time.sleep(min(1.0, SECONDS_TO_APPEAR))
    seconds = read_manifest(stage.folder)["seconds"]
    return StageResult.of(stage).model_copy(update={"cached": False, "seconds": seconds})


def _place_of(stage: str, run: FlowRun) -> str:
    """Return the text `FOLDER on HOST`, from the artifact of a stage's flow run."""
    table = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[result_key(stage)])
    )
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=table)
    if not artifacts:
        return "an unknown store (the flow run has no artifact)"
    rows = {row["what"]: row["value"] for row in json.loads(str(artifacts[0].data))}
    return f"{rows['folder']} on {rows['host']}"
