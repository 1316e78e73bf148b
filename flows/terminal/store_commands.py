"""Commands for a store as a whole: its status, and garbage collection."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.terminal.options import Call, command
from flows.terminal.printing import console, print_json, size

stores = typer.Typer()


@command(stores)
def gc(
    call: Call,
    keep_last: Annotated[
        int, typer.Option("--keep-last", min=1, help="Number of pipeline runs, versions and lifted folders to keep.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove. Without this option gc only lists what it would remove.")
    ] = False,
    partials: Annotated[
        bool, typer.Option("--partials", help="Also remove partial folders that interrupted trainings could resume.")
    ] = False,
) -> None:
    """Remove results that no kept pipeline run, version, alias, benchmark or running process needs."""
    from tasks.maintenance.gc import collect  # imports MLflow, which takes seconds

    outcome = collect(call.store, keep_last, partials, dry_run=not yes)
    terminal = console(call.as_json)
    if not yes:
        for item in outcome["items"]:
            line = f"{item['kind']}: {item['name']}, {size(item['bytes'])}"
            terminal.print(line, soft_wrap=True, highlight=False)
    terminal.print(_removed(outcome))
    kept = ", ".join(f"{count:,} {kind}" for kind, count in outcome["kept"].items())
    terminal.print(f"kept: {kept or 'nothing, the store is empty'}", soft_wrap=True, highlight=False)
    for line in outcome["skipped"]:
        terminal.print(line, soft_wrap=True, highlight=False)
    if not outcome["since"]:
        terminal.print(f"the store has fewer than {keep_last} finished pipeline runs: gc keeps all of them")
    if outcome["unknown_work"]:
        terminal.print("a stage has just begun and its inputs are not recorded yet: gc keeps all folders")
    if not yes:
        terminal.print("nothing was removed; pass --yes to remove it")
    print_json(call.as_json, outcome)


@command(stores)
def status(
    call: Call, last: Annotated[int, typer.Option("--last", min=1, help="Number of pipeline runs to list.")] = 5
) -> None:
    """Show the last pipeline runs, the versions with an alias, work in progress, and disk usage."""
    from flows.terminal.status_tables import status_lines
    from tasks.maintenance.status import read_status

    current = read_status(call.store, last)
    terminal = console(call.as_json)
    for line in status_lines(current):
        terminal.print(line, soft_wrap=isinstance(line, str), highlight=False)
    print_json(call.as_json, asdict(current))


def _removed(outcome: dict[str, Any]) -> Table:
    table = Table("kind", "number", "size", title="would be removed" if outcome["dry_run"] else "removed")
    for kind, total in outcome["removed"].items():
        table.add_row(kind, f"{total['count']:,}", size(total["bytes"]))
    table.add_row("total", f"{len(outcome['items']):,}", size(outcome["bytes"]), style="bold")
    return table
