"""Commands for a store: its status, garbage collection, and the verification of a folder."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

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
) -> None:
    """Remove results that no kept pipeline run, version, alias, benchmark or running process needs."""
    from tasks.maintenance.gc import collect  # imports MLflow, which takes seconds

    outcome = collect(call.store, keep_last, dry_run=not yes)
    items = outcome["items"]
    lines = [f"{item['kind']}: {item['name']}, {decimal(item['bytes'])}" for item in items]
    verb = "removed" if yes else "pass --yes to remove"
    lines.append(f"{verb} {len(items):,} items, {decimal(sum(item['bytes'] for item in items))}")
    print_output(call.as_json, outcome, *lines, *outcome["notes"])


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


def status_lines(status: "Status") -> Iterator[RenderableType]:
    """Yield pipeline runs, versions, work in progress, disk usage, work for a person, and servers without answer."""
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
        owner = owner or "no process holds its lock: the process is dead, or on another machine"
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
    shares = "; ".join(f"{entry['count']:,} {kind} {decimal(entry['bytes'])}" for kind, entry in kinds)
    everything = sum(entry["bytes"] for entry in status.disk.values())
    return f"{status.store}: {decimal(everything)}, and {decimal(status.free_bytes)} free: {shares}"


def _score(name: str, value: float) -> str:
    return f"{value:.1f} {METRICS[name].unit}" if METRICS[name].unit else f"{100 * value:.1f} %"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"
