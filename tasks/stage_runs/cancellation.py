"""Cancellation of a flow run by a person while it trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from tasks.stage_runs.prefect_runs import in_prefect_run

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@contextmanager
def never_crashed_if_cancelled() -> Iterator[None]:
    """End a cancelled run without the state Crashed; its worker then sets Cancelled.

    A worker announces a cancellation before it sends SIGTERM. The process accepts this only while Prefect's handler of
    SIGTERM is installed, but training installs its own to write a checkpoint first (`model.training.interruption`).
    Prefect then reports a crash, and a pipeline that waits for the run would start it again.
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
            raise Abort("the flow run was cancelled") from None
        raise


def _is_cancelled() -> bool:
    """Return whether this run or its parent is being cancelled; if the parent is, cancel the runs in its process."""
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run, task_run
    from prefect.states import Cancelled, State

    with get_client(sync_client=True) as client:
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
