"""Garbage collection as a flow, for a schedule."""

from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.states import Completed

from data_contracts.store.folders import default_store
from flows.prefect_ui.flow import uplift_flow
from tasks.maintenance.gc import collect


@uplift_flow
def gc(keep_last: int = 14, dry_run: bool = True, store: str | None = None) -> Any:
    """Remove results that no kept pipeline run, version, alias, benchmark or running process needs.

    Parameters
    ----------
    dry_run
        Only list the results to remove.
    """
    outcome = collect(default_store(store), keep_last, dry_run)
    items, verb = outcome["items"], "would be removed" if dry_run else "removed"
    message = f"{verb}: {len(items):,} items, {sum(item['bytes'] for item in items) / 1e6:,.1f} MB"
    create_table_artifact(table=items, key="gc", description="\n\n".join([message, *outcome["notes"]]))
    return Completed(message=message, data=outcome)
