"""Follow a pipeline run on a Prefect server: the states of its stages, and its outcome."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import State

from data_contracts.errors import InputError
from data_contracts.store.digests import PIPELINE

POLL_SECONDS = 5.0


def newest_pipeline_run(client: SyncPrefectClient) -> UUID:
    """Return the id of the newest pipeline run that is not scheduled for later.

    Raises
    ------
    InputError
        The server has no such run.
    """
    begun = FlowRunFilter.model_validate({"expected_start_time": {"before_": datetime.now(UTC)}})
    pipelines = FlowFilter.model_validate({"name": {"any_": [PIPELINE]}})
    order = FlowRunSort.EXPECTED_START_TIME_DESC
    runs = client.read_flow_runs(flow_filter=pipelines, flow_run_filter=begun, sort=order, limit=1)
    if not runs:
        raise InputError("the Prefect server has no pipeline run; start one: prefect deployment run pipeline/nightly")
    return runs[0].id


def follow(client: SyncPrefectClient, run_id: UUID, show: Callable[[str], None]) -> State[Any]:
    """Show each new state of a flow run and of its subflows until the run ends; return its final state."""
    shown: dict[UUID, UUID] = {}
    names: dict[UUID, str] = {}
    subflows = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [run_id]}})
    while True:
        run = client.read_flow_run(run_id)
        for one in [*client.read_flow_runs(flow_run_filter=subflows, sort=FlowRunSort.START_TIME_ASC), run]:
            if one.state is not None and shown.get(one.id) != one.state.id:
                names[one.flow_id] = names.get(one.flow_id) or client.read_flow(one.flow_id).name
                show(f"{one.state.timestamp.astimezone():%H:%M:%S} {names[one.flow_id]}: {one.state.name}")
                shown[one.id] = one.state.id
        if run.state is not None and run.state.is_final():
            return run.state
        time.sleep(POLL_SECONDS)
