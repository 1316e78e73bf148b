"""Dispatch of a pipeline's stage: result from the store, else a flow run here or on the workers of a deployment.

The flow of the stage gets the digest that its result must have. A worker with other presets, inputs or code therefore
fails before it computes anything. The result of a deployment is read from the store and never computed here.
"""

import json
import platform
import time
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger

from data_contracts.parameters.presets import preset_and_overrides
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import StageResult, find_stage
from data_contracts.store.manifests import read_manifest
from flows.prefect_ui.artifacts import result_key, show_stage
from flows.stage_runs.deployed import run_to_its_end
from flows.stages import run_stage
from tasks.stage import Context

SECONDS_TO_APPEAR = 60.0  # the cache of a network file system may hide a new folder for so long


def dispatch_stage(name: str, context: Context, deployment: str | None = None, **inputs: Any) -> StageResult:
    """Return the result of a stage of a pipeline: from the store, else from a flow run here or on workers.

    Parameters
    ----------
    deployment
        Deployment of the stage whose workers compute it (`cuda`: `pretrain/cuda`). If None, it is computed here.
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
        preset = preset_and_overrides(context.parameters)
        shared = {"store": str(context.store), "parent_run": context.parent_run, "digest": key.digest}
        if deployment is None:
            from flows.stage_flows import FLOWS

            return FLOWS[name](**inputs, **preset, **shared)
        run = run_to_its_end(f"{name}/{deployment}", {**inputs, **preset, **shared}, context.parameters.runtime)
        return _find(context.store, key, run)

    result = run_stage(name, context, elsewhere=start, **inputs)
    if result.cached:
        get_run_logger().info(f"{name}: cached, {result.folder}")
        show_stage(result)
    return result


def _find(store: Path, key: StageKey, run: FlowRun) -> StageResult:
    """Return the result that the run of a deployment wrote into the store, or raise RuntimeError without one."""
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while (stage := find_stage(store, key)) is None:
        if time.monotonic() > deadline:
            folder = store / key.kind / key.digest
            raise RuntimeError(
                f"flow run {run.name} of {key.name} completed, but {folder} is absent on {platform.node()}."
                f" The worker wrote its result to {_place_of(key.name, run)}. Both machines need the same store"
                " at the same path, and the same version of this project"
            )
        time.sleep(min(1.0, SECONDS_TO_APPEAR))
    seconds = read_manifest(stage.folder)["seconds"]
    return StageResult.of(stage).model_copy(update={"cached": False, "seconds": seconds})


def _place_of(stage: str, run: FlowRun) -> str:
    """Return the folder and the machine in the artifact of a stage's flow run."""
    table = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[result_key(stage)])
    )
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=table)
    if not artifacts:
        return "an unknown store (the flow run has no artifact)"
    rows = {row["what"]: row["value"] for row in json.loads(str(artifacts[0].data))}
    return f"{rows['folder']} on {rows['host']}"
