"""A stage as a task runs it: answered by the store where it is there already, else worked at in an MLflow run."""

from collections.abc import Callable
from pathlib import Path

from data_contracts.report import StageResult
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import Stage, find_stage, open_stage
from tasks.tracking.runs import TrackedRun, link_cached, track_stage

__all__ = ["run_stage"]


def run_stage(
    store: Path,
    key: StageKey,
    parent_run: str | None,
    work: Callable[[Stage, TrackedRun], None],
    resume: bool = False,
) -> StageResult:
    """The result of a stage, for which `work` is done only where the store does not have it.

    Parameters
    ----------
    parent_run
        MLflow run of the pipeline that the stage belongs to; it is tagged with the stage's run and digest.
    work
        Writes into the stage's folder, logs to its run, and raises where it fails; then nothing is left.
    resume
        Of a run that was killed or failed what it wrote is kept, and the next one goes on from it.
    """
    stage = find_stage(store, key)
    if stage is None:
        with open_stage(store, key, resume) as stage:
            if not stage.cached:  # another process may just have finished it
                with track_stage(store, stage, parent_run) as tracked:
                    work(stage, tracked)
    if stage.cached:
        link_cached(store, stage, parent_run)
    return StageResult.of(stage)
