"""A stage of a pipeline: from the store where it is there already, else run here, or on the workers of a deployment.

Notable decisions:
- the store is asked first: a stage that is there starts no flow run and imports neither PyTorch nor the stage's code;
- what a deployment was sent is found in the store afterwards, or the pipeline fails: it is never done here instead.
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

from data_contracts.parameters import Runtime
from data_contracts.report import StageResult
from data_contracts.store.digests import Identity
from data_contracts.store.folders import find_stage
from data_contracts.store.manifests import read_manifest
from flows.prefect_ui.artifacts import result_key, show_stage
from flows.stage_runs.deployed import run_to_its_end
from flows.stage_runs.loading import load_flow
from tasks.mlflow_runs.runs import link_cached

SECONDS_TO_APPEAR = 60.0  # a network file system may go on saying "not there" from its cache for so long


def dispatch_stage(
    store: Path, identity: Identity, deployment: str | None, parent_run: str, **arguments: Any
) -> StageResult:
    """The result of a stage within a pipeline's flow run.

    Parameters
    ----------
    identity
        Of the stage: its name, and what its result is a function of.
    deployment
        Name of the stage's deployment whose workers run it (`cuda`: `pretrain/cuda`); none: it runs here.
    parent_run
        MLflow run of the pipeline.
    arguments
        Of the stage's flow, `store` and `parent_run` apart.

    Raises
    ------
    RuntimeError
        The deployment's run did not complete, found no worker, or left its result where this process cannot see it.
    """
    finished = find_stage(store, identity)
    if finished is not None:
        link_cached(store, finished, parent_run)
        result = StageResult.of(finished)
        get_run_logger().info(f"{result.stage}: cached, {result.folder}")
        show_stage(result)
        return result
    arguments |= {"store": str(store), "parent_run": parent_run}
    if deployment is None:
        return load_flow(identity.name)(**arguments)
    run = run_to_its_end(f"{identity.name}/{deployment}", arguments, arguments.get("runtime", Runtime()))
    return _find(store, identity, run)


def _find(store: Path, identity: Identity, run: FlowRun) -> StageResult:
    """What a deployment's run left in the store."""
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while (stage := find_stage(store, identity)) is None:
        if time.monotonic() > deadline:
            wanted = store / identity.kind / identity.digest
            raise RuntimeError(
                f"flow run {run.name} of {identity.name} completed, but {wanted} is not there on {platform.node()}: the"
                f" worker left its result in {_left_by(identity.name, run)}; both must reach one store by one path, and"
                " run the same version of this project"
            )
        time.sleep(min(1.0, SECONDS_TO_APPEAR))
    seconds = read_manifest(stage.folder)["seconds"]
    return StageResult.of(stage).model_copy(update={"cached": False, "seconds": seconds})


def _left_by(stage: str, run: FlowRun) -> str:
    """Folder and machine that a stage's run shows on its page."""
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[result_key(stage)])
    )
    with get_client(sync_client=True) as client:
        shown = client.read_artifacts(artifact_filter=wanted)
    if not shown:
        return "a store that its page does not name"
    rows = {row["what"]: row["value"] for row in json.loads(str(shown[0].data))}
    return f"{rows['folder']} on {rows['host']}"
