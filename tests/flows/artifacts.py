"""Artifacts on the Prefect server of the flow tests; other tests of the same worker have written some, too."""

from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort


def pipeline_runs(store: Path) -> list[FlowRun]:
    """Return the flow runs of `pipeline` in a store, the first one first."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["pipeline"])))
    of_store = [run for run in runs if run.parameters.get("store") == str(store) and run.start_time]
    return sorted(of_store, key=lambda run: run.start_time)


def artifacts_of(key: str, runs: list[FlowRun] | None = None) -> list[str]:
    """Return the texts of all artifacts of a key, or of those of these flow runs."""
    return [text for _, text in shown_as(key, runs)]


def shown_as(key: str, runs: list[FlowRun] | None = None) -> list[tuple[str | None, str]]:
    """Return the description and the text of all artifacts of a key, the newest first."""
    of_runs = None if runs is None else ArtifactFilterFlowRunId(any_=[run.id for run in runs])
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=of_runs)
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)
    return [(artifact.description, str(artifact.data)) for artifact in found]
