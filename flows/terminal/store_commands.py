"""Commands for a store: its status, garbage collection, and the verification of a folder."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Column, Table

from data_contracts.report import METRICS
from data_contracts.store.checking import check_folder
from data_contracts.store.folders import resolve
from flows.prefect_ui.forms import SHARED
from flows.terminal.options import Call, command
from flows.terminal.printing import print_output
from tasks.stage_runs.progress import duration, progress_bar

if TYPE_CHECKING:
    from tasks.maintenance.status import Status

_METRICS = ("mpjpe_mm", "p_mpjpe_mm", "pck_150", "mpjve_mm")
_WIDE = 60  # characters of a reason and of a command line
stores = typer.Typer()


@command(stores)
def gc(
    call: Call,
    keep_last: Annotated[int, typer.Option(min=1, help=SHARED["keep_last"])],
    yes: Annotated[bool, typer.Option("--yes", help="Remove the listed results. Default: only list them.")] = False,
    partials: Annotated[bool, typer.Option("--partials", help=SHARED["partials"])] = False,
) -> None:
    """Remove results that no kept pipeline run, version, alias, benchmark or running process needs."""
    from tasks.maintenance.gc import collect  # imports MLflow, which takes seconds

    outcome = collect(call.store, keep_last, partials, dry_run=not yes)
    items = [f"{item['kind']}: {item['name']}, {_size(item['bytes'])}" for item in outcome["items"]]
    kept = ", ".join(f"{count:,} {kind}" for kind, count in outcome["kept"].items())
    lines = [f"kept: {kept}", *outcome["skipped"]]
    if outcome["busy"]:
        lines.append(f"gc keeps all results while a process works in the store: {_cut(outcome['busy'][0])}")
    elif not outcome["since"]:
        lines.append(f"the store has fewer than {keep_last} finished pipeline runs: gc keeps all of them")
    if not yes:
        lines.append("nothing was removed; pass --yes to remove it")
    print_output(call.as_json, outcome, *([] if yes else items), _removed(outcome), *lines)


@command(stores)
def status(call: Call, last: Annotated[int, typer.Option(min=1, help="Number of pipeline runs to list.")] = 5) -> None:
    """Show the last pipeline runs, the versions with an alias, work in progress, and disk usage."""
    from tasks.maintenance.status import read_status

    current = read_status(call.store, last)
    print_output(call.as_json, asdict(current), *status_lines(current))


@command(stores)
def check(call: Call, folder: Annotated[str, typer.Argument(help="Folder or digest of a finished stage.")]) -> None:
    """Verify the manifest of a stage folder and the SHA-256 of each of its files."""
    path = resolve(call.store, "*", folder)
    with progress_bar() as bar:
        line = bar.add_task(f"check {path.name}", total=1.0)
        checked = check_folder(path, lambda share: bar.update(line, completed=share))
    print_output(call.as_json, asdict(checked), checked.describe())


def _removed(outcome: dict[str, Any]) -> Table:
    table = Table("kind", "number", "size", title="would be removed" if outcome["dry_run"] else "removed")
    for kind, total in outcome["removed"].items():
        table.add_row(kind, f"{total['count']:,}", _size(total["bytes"]))
    table.add_row("total", f"{len(outcome['items']):,}", _size(outcome["bytes"]), style="bold")
    return table


def status_lines(status: "Status") -> Iterator[RenderableType]:
    """Yield the pipeline runs, versions, work in progress, disk usage, what waits for a person, and errors."""
    yield _pipeline_runs(status)
    yield _versions(status)
    yield from _work(status)
    yield _disk(status)
    for line in status.to_do:
        yield f"to do: {line}"
    for error in status.errors:
        yield f"no answer: {error}"


def _pipeline_runs(status: "Status") -> Table:
    columns = (Column(name, no_wrap=True) for name in ("began (UTC)", "state", "took", "MPJPE", "version"))
    table = Table(*columns, "promotion", title="last pipeline runs")
    for run in status.pipeline_runs:
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.began)),
            run.state.lower(),
            duration(run.seconds),
            "" if run.mpjpe_mm is None else f"{run.mpjpe_mm:.1f} mm",
            run.version or "",
            _cut(run.promotion or ""),
        )
    return table


def _versions(status: "Status") -> Table:
    table = Table("alias", "version", *(METRICS[name].label for name in _METRICS), title="versions")
    for alias, version in status.versions.items():
        scores = version["scores"]
        cells = (_score(name, scores[name]) if name in scores else "" for name in _METRICS)
        table.add_row(f"@{alias}", version["version"], *cells)
    return table


def _work(status: "Status") -> Iterator[str]:
    if status.benchmark:
        yield f"benchmark: windows {status.benchmark}"
    for run in status.running:
        owner = run.lock_owner and _cut(run.lock_owner)
        owner = owner or "no process holds its lock: it is dead, or on another machine"
        yield f"running: {run.name}, for {duration(run.seconds)}; {owner}"
    for lock, owner in status.locks.items():
        yield f"locked: {lock}, by {_cut(owner)}"
    for flow in status.flow_runs or []:
        since = f" since {flow['since'][:16].replace('T', ' ')}" if flow["since"] else ""
        yield f"Prefect: {flow['flow']} {flow['name']}, {(flow['state'] or '').lower()}{since}"
    if not (status.running or status.locks or status.flow_runs):
        yield "nothing is running"


def _disk(status: "Status") -> str:
    kinds = sorted(status.disk.items(), key=lambda kind: -kind[1]["bytes"])
    shares = "; ".join(f"{entry['count']:,} {kind} {_size(entry['bytes'])}" for kind, entry in kinds)
    everything = sum(entry["bytes"] for entry in status.disk.values())
    return f"{status.store}: {_size(everything)}, and {_size(status.free_bytes)} free: {shares}"


def _score(name: str, value: float) -> str:
    return f"{value:.1f} {METRICS[name].unit}" if METRICS[name].unit else f"{100 * value:.1f} %"


def _size(count: int | None) -> str:
    """Return a number of bytes with its unit; `count` is None for files on another machine."""
    return "size not known here" if count is None else decimal(count)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"
