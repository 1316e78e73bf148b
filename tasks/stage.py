"""Find the result of a stage or compute it, with key, lock, MLflow run, manifest and retries.

This module imports neither Prefect nor MLflow, so a result that is in the store is found in a fraction of a second.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from data_contracts.errors import InputError, some
from data_contracts.parameters import PipelineParameters
from data_contracts.store.digests import StageKey, stage_key
from data_contracts.store.folders import Stage, StageResult, find_stage, open_stage
from data_contracts.store.locks import locked
from tasks.stage_runs.prefect_runs import show_cached, task
from tasks.tracking.names import CONNECTING_LOCK
from tasks.tracking.store_identity import name_store

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

Inputs = Mapping[str, Any]  # of a stage: see `data_contracts.store.digests`, or a `Pending` result
Work = Callable[..., None]


@dataclass(frozen=True)
class Context:
    """Store, parameters of all stages, and MLflow run id of the pipeline, or None.

    If `tracked` is false, computed stages have no MLflow run.
    """

    store: Path
    parameters: PipelineParameters
    parent_run: str | None = None
    tracked: bool = True


@dataclass(frozen=True)
class StageTask:
    """Name of a stage, and the function that computes it.

    Attributes
    ----------
    work
        Function, or `module:function`, which is imported only when the stage is computed. Its arguments are the `Stage`
        to write into, the `TrackedRun` or None, the `PipelineParameters`, and each input by name.
    resume
        Keep the files of a killed or failed run, so that the next run continues from these files.
    parameters
        Field of `PipelineParameters` with the parameters of the stage. Default: the name of the stage.
    """

    name: str
    work: str | Work
    resume: bool = False
    parameters: str = ""

    def key(self, inputs: Inputs, context: Context) -> StageKey:
        """Return the key of the result for these inputs."""
        digests = {
            name: one.stage.key(one.inputs, context).digest if isinstance(one, Pending) else one
            for name, one in inputs.items()
        }
        return stage_key(self.name, digests, getattr(context.parameters, self.parameters or self.name))


@dataclass(frozen=True)
class Pending:
    """Input that is the result of another stage. It is computed only if the store does not have the final result."""

    stage: StageTask
    inputs: Inputs


def get_or_compute(
    stage: StageTask,
    inputs: Inputs,
    context: Context,
    expected: str | None = None,
    elsewhere: Callable[[StageKey], StageResult] | None = None,
) -> StageResult:
    """Return the result of a stage from the store, or compute it: in a flow as a Prefect task, else as a function call.

    In a flow, a result from the store is a task run in the state Cached.

    Parameters
    ----------
    expected
        Digest that the result must have, computed by the process that started this process.
    elsewhere
        Function that computes the result of a key in another flow run or process, and returns it.

    Raises
    ------
    InputError
        An input is damaged or refused by the work, the store cannot be written, or the digest is not `expected`.
    """
    key = stage.key(inputs, context)
    if expected and expected != key.digest:
        raise InputError(
            f"{stage.name}: the pipeline run expects digest {expected}, but inputs and parameters have digest"
            f" {key.digest} on {platform.node()}. Either an input was changed after the pipeline run began, or this"
            " machine has another version of the project or its presets. Use equal inputs and versions, and run again"
        )
    result = find_stage(context.store, key)
    if result is None and elsewhere:
        return elsewhere(key)
    if result is None:
        pending = {name: one for name, one in inputs.items() if isinstance(one, Pending)}
        made = {name: get_or_compute(one.stage, one.inputs, context).path for name, one in pending.items()}
        key = replace(key, paths=(*key.paths, *made.values()))
        compute = task(retried=True, name=stage.name)(_compute)
        result = compute(stage, {**inputs, **made}, context, key)
    else:
        show_cached(stage.name, result.folder)
    if result.cached and context.parent_run:
        from tasks.tracking.runs import link_cached  # imports MLflow, which takes seconds

        link_cached(context.store, result, context.parent_run)
    return StageResult.of(result)


def _compute(stage: StageTask, inputs: Inputs, context: Context, key: StageKey) -> Stage:
    """Compute a stage under its lock if no process has finished it; after an error only `resume` keeps the files."""
    with open_stage(context.store, key, stage.resume) as folder:
        if not folder.cached:
            with _tracked(folder, context) as tracked:
                work = resolve_name(stage.work) if isinstance(stage.work, str) else stage.work
                work(folder, tracked, context.parameters, **inputs)
                if key.data and (now := stage.key(inputs, context).inputs) != key.inputs:
                    changed = [name for name, digest in key.inputs.items() if now.get(name) != digest]
                    raise InputError(f"{key.data}: {some(changed)} changed while it was read; run the command again")
    return folder


@contextmanager
def _tracked(folder: Stage, context: Context) -> "Iterator[TrackedRun | None]":
    if context.tracked:
        from tasks.tracking.runs import track_stage  # imports MLflow, which takes seconds

        with track_stage(context.store, folder, context.parent_run) as tracked:
            yield tracked
        return
    with locked(context.store / CONNECTING_LOCK, "the id of the store"):
        name_store(context.store)  # as the connection to MLflow does for other stages
    yield None
