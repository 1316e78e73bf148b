"""The subcommands about a store as a whole: how it stands, and the removal of what nobody needs."""

from typing import Annotated, Any

import typer
from rich.table import Table

from data_contracts.errors import InputError
from flows.terminal.options import Call, command
from flows.terminal.printing import console, print_json, size

stores = typer.Typer()


@command(stores)
def gc(
    call: Call,
    keep_last: Annotated[
        int, typer.Option("--keep-last", min=1, help="Nights, versions and lifted folders that are kept.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, with sizes.")] = False,
    partials: Annotated[
        bool, typer.Option("--partials", help="Also what trainings that were killed would go on from.")
    ] = False,
) -> None:
    """Remove what neither a kept night nor a version, alias, benchmark or process at work needs."""
    from tasks.cleaning.gc import collect  # what brings MLflow, which other commands need not wait for

    outcome = collect(call.store, keep_last, partials, dry_run)
    to_person = console(call.as_json)
    if dry_run:
        for item in outcome["items"]:
            if item["kind"] != "lock files":
                to_person.print(
                    f"{item['kind']}: {item['name']}, {size(item['bytes'])}; {item['why']}",
                    soft_wrap=True,
                    highlight=False,
                )
    to_person.print(_removed(outcome))
    kept = ", ".join(f"{count:,} {kind}" for kind, count in outcome["kept"].items())
    to_person.print(f"kept: {kept or 'nothing was there'}", soft_wrap=True, highlight=False)
    if not outcome["since"]:
        to_person.print(f"there are no {keep_last} finished nights yet: all of them are kept")
    if outcome["at_work"]:
        to_person.print("a stage has just begun, and what it reads is not known yet: no folder goes this time")
    print_json(call.as_json, outcome)


@command(stores)
def status(
    call: Call, nights: Annotated[int, typer.Option("--nights", min=1, help="How many of the last.")] = 5
) -> None:
    """The last nights, the versions with an alias, what is at work, and what the disk holds."""
    from flows.prefect_ui.at_work import flow_runs_at_work
    from flows.terminal.status_tables import status_lines
    from tasks.status import read_status

    found, flow_runs = read_status(call.store, nights), None
    try:
        flow_runs = flow_runs_at_work()
    except InputError as error:
        found.unasked.append(str(error))
    to_person = console(call.as_json)
    for line in status_lines(found, flow_runs or []):
        to_person.print(line, soft_wrap=isinstance(line, str), highlight=False)
    print_json(call.as_json, {**found.as_json(), "flow_runs": flow_runs})


def _removed(outcome: dict[str, Any]) -> Table:
    table = Table("what", "how many", "size", title="would be removed" if outcome["dry_run"] else "removed")
    for kind, total in outcome["removed"].items():
        table.add_row(kind, f"{total['count']:,}", size(total["bytes"]))
    table.add_row("all", f"{len(outcome['items']):,}", size(outcome["bytes"]), style="bold")
    return table
