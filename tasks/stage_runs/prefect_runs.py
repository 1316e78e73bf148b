"""Use Prefect for the work of flow runs, and plain Python functions for the work of commands.

- A command does not import Prefect. The import takes seconds, and a task outside a flow run starts a temporary server.
- A process that executes a flow has already imported Prefect. So `sys.modules` shows whether a flow run is possible,
  without an import.
- Only tasks have retries, because a flow that is retried loses the lease of its deployment's concurrency limit
  (PrefectHQ/prefect#20251). A task has retries only if a failure leaves no partial result, as in a stage.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import UUID

from data_contracts.errors import InputError
from data_contracts.text import printable

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

LOGGER = "uplift"  # of work outside flow runs
Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")


def in_prefect_run() -> bool:
    """Return whether a flow run or a task run of Prefect executes this code."""
    context = sys.modules.get("prefect.context")
    return context is not None and bool(context.FlowRunContext.get() or context.TaskRunContext.get())


def run_logger() -> Any:
    """Return the logger of the flow run or task run, else the logger of commands."""
    if not in_prefect_run():
        return logging.getLogger(LOGGER)
    from prefect.logging import get_run_logger

    return get_run_logger()


def task(
    retried: bool = False, name: str | None = None
) -> Callable[[Callable[Inputs, Result]], Callable[Inputs, Result]]:
    """Return a decorator that runs a function as a Prefect task (called `name`) in a flow run, retried if `retried`."""

    def decorate(function: Callable[Inputs, Result]) -> Callable[Inputs, Result]:
        @wraps(function)
        def run(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Result:
            if not in_prefect_run():
                return function(*args, **kwargs)
            import prefect
            from prefect.cache_policies import NO_CACHE

            decorate_task = prefect.task(name=name, cache_policy=NO_CACHE, **(_RETRIES if retried else {}))
            return decorate_task(function)(*args, **kwargs)

        return run

    return decorate


def show_cached(stage: str, folder: Path) -> None:
    """Add a task run in the state Cached to the flow run, so that its graph has the stage; elsewhere do nothing."""
    if in_prefect_run():
        from prefect.states import Completed

        task(name=stage)(lambda: Completed(name="Cached", message=printable(str(folder))))()


def _unless_refused(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether to retry a failed task (Prefect's `retry_condition_fn`): not after an InputError."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


# random delays: tasks that fail together, e.g. during the restart of a server, do not retry at the same moment
_RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 60],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _unless_refused,
}


@contextmanager
def never_crashed_if_cancelled() -> Iterator[None]:
    """End a cancelled run without the state Crashed; its worker then sets Cancelled.

    A worker announces a cancellation before it sends SIGTERM. The process recognises it only while Prefect's handler of
    SIGTERM is installed, but a training installs its own handler, to write a checkpoint (`model.training.devices`).
    Prefect would then report a crash, and a pipeline that waits for the run would start it again.
    """
    if not in_prefect_run():
        yield
        return
    from prefect.exceptions import Abort, TerminationSignal
    from prefect.runtime import flow_run

    try:
        yield
    except TerminationSignal:
        if flow_run.id and _is_cancelled():
            raise Abort("the flow run was cancelled or deleted") from None
        raise


def _is_cancelled() -> bool:
    """Return whether a person deleted this run, or is cancelling it or its parent.

    On a cancellation the task run is set to Cancelled; if only the parent is being cancelled, this flow run, too.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.runtime import flow_run, task_run
    from prefect.states import Cancelled, State

    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        own, parent = str(flow_run.id), flow_run.parent_flow_run_id
        if not (_is_cancelling(client, own) or (parent and _is_cancelling(client, parent))):
            return False
        reason: State[None] = Cancelled(message="cancelled by a person")
        if not _is_cancelling(client, own):
            client.set_flow_run_state(UUID(own), reason, force=True)
        if task_run.id:
            client.set_task_run_state(UUID(str(task_run.id)), reason, force=True)
    return True


def _is_cancelling(client: "SyncPrefectClient", run: str) -> bool:
    state = client.read_flow_run(UUID(run)).state
    return state is not None and state.is_cancelling()
