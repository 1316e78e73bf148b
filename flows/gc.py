"""Removal of what nobody needs any more, as a flow: to be scheduled."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed

from data_contracts.store.folders import default_store
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.cleaning.gc import collect


@flow(name="gc", flow_run_name=name_flow_run)
@described
def gc(keep_last: int = 14, partials: bool = False, dry_run: bool = False, store: str | None = None) -> Any:
    """Remove what neither a kept night nor a version, alias, benchmark or process at work needs.

    Parameters
    ----------
    keep_last
        Number of the latest pipeline runs, versions and lifted folders to keep.
    partials
        Also remove the unfinished folders from which killed trainings would continue.
    dry_run
        Report the files that would be removed, and remove nothing.

    Returns
    -------
    dict
        As `tasks.cleaning.gc.collect`. Its final state's message says how much it was.
    """
    outcome = collect(default_store(store), keep_last, partials, dry_run)
    rows = [{"what": kind, **total} for kind, total in outcome["removed"].items()]
    what = "would be removed" if dry_run else "removed"
    said = f"{what}: {len(outcome['items']):,} things, {outcome['bytes'] / 1e6:,.1f} MB"
    create_table_artifact(table=rows, key="gc", description=f"{said}; kept: {outcome['kept']}")
    return Completed(message=said, data=outcome)
