"""Garbage collection as a flow, for a schedule."""

from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.states import Completed

from data_contracts.store.folders import default_store
from flows.prefect_ui.flow import uplift_flow
from tasks.maintenance.gc import collect


@uplift_flow
def gc(keep_last: int = 14, partials: bool = False, dry_run: bool = True, store: str | None = None) -> Any:
    """Remove results that no kept pipeline run, version, alias, benchmark or running process needs.

    Parameters
    ----------
    dry_run
        Only list the results to remove.
    """
    outcome = collect(default_store(store), keep_last, partials, dry_run)
    rows = [{"kind": kind, **total} for kind, total in outcome["removed"].items()]
    verb = "would be removed" if dry_run else "removed"
    message = f"{verb}: {len(outcome['items']):,} items, {outcome['bytes'] / 1e6:,.1f} MB"
    lines = [f"{message}; kept: {outcome['kept']}", *outcome["skipped"]]
    create_table_artifact(table=rows, key="gc", description="\n\n".join(lines))
    return Completed(message=message, data=outcome)
