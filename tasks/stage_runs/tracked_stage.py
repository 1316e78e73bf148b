"""A stage as a task runs it: the store returns the result, or the stage is computed in an MLflow run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.report import StageResult
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import Stage, find_stage, open_stage
from data_contracts.store.locks import locked
from tasks.tracking.names import CONNECTING_LOCK
from tasks.tracking.store_identity import name_store

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun


def run_stage(
    store: Path,
    key: StageKey,
    parent_run: str | None,
    work: "Callable[[Stage, TrackedRun], None]",
    resume: bool = False,
) -> StageResult:
    """Return the result of a stage; `work` is called only if the store does not have the result.

    Parameters
    ----------
    parent_run
        MLflow run of the pipeline of the stage; it gets tags with the run and the digest of the stage.
    work
        Function that writes into the folder of the stage and logs to its run. If it raises, the folder is deleted.
    resume
        Keep the files of a run that was killed or failed, so that the next run continues from them.
    """
    stage = find_stage(store, key)
    if stage is None:
        with open_stage(store, key, resume) as stage:
            if not stage.cached:  # another process may have finished it
                from tasks.tracking.runs import track_stage  # imports MLflow, which takes seconds

                with track_stage(store, stage, parent_run) as tracked:
                    work(stage, tracked)
    if stage.cached and parent_run:
        from tasks.tracking.runs import link_cached

        link_cached(store, stage, parent_run)
    return StageResult.of(stage)


def run_untracked_stage(store: Path, key: StageKey, work: Callable[[Stage, None], None]) -> StageResult:
    """Return the result of a stage, from the store or from `work`, without an MLflow run."""
    with open_stage(store, key) as stage:
        if not stage.cached:
            with locked(store / CONNECTING_LOCK, "the id of the store"):
                name_store(store)  # as the connection to MLflow does for other stages
            work(stage, None)
    return StageResult.of(stage)
