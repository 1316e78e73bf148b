"""A stage as a task runs it: answered by the store where it is there already, else worked at in an MLflow run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.report import StageResult
from data_contracts.store.digests import Identity
from data_contracts.store.folders import Stage, find_stage, open_stage
from data_contracts.store.locks import hold
from tasks.tracking.names import CONNECTING_LOCK
from tasks.tracking.store_identity import name_store

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

__all__ = ["run_stage", "run_untracked_stage"]


def run_stage(
    store: Path,
    identity: Identity,
    parent_run: str | None,
    work: "Callable[[Stage, TrackedRun], None]",
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
    stage = find_stage(store, identity)
    if stage is None:
        with open_stage(store, identity, resume) as stage:
            if not stage.cached:  # another process may just have finished it
                from tasks.tracking.runs import track_stage  # imports MLflow, which takes seconds

                with track_stage(store, stage, parent_run) as tracked:
                    work(stage, tracked)
    if stage.cached and parent_run:
        from tasks.tracking.runs import link_cached

        link_cached(store, stage, parent_run)
    return StageResult.of(stage)


def run_untracked_stage(store: Path, identity: Identity, work: Callable[[Stage, None], None]) -> StageResult:
    """Return the result of a stage, from the store or from `work`, without an MLflow run."""
    with open_stage(store, identity) as stage:
        if not stage.cached:
            with hold(store / CONNECTING_LOCK, "the id of the store"):
                name_store(store)  # as the connection to MLflow does for other stages
            work(stage, None)
    return StageResult.of(stage)
