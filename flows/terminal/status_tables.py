"""Tables and lines of `uplift status`; they fit one screen."""

import time
from collections.abc import Iterator
from textwrap import shorten

from rich.console import RenderableType
from rich.table import Column, Table

from data_contracts.report import METRICS
from flows.terminal.printing import size
from tasks.maintenance.status import Status

_METRICS = ("mpjpe_mm", "p_mpjpe_mm", "pck_150", "mpjve_mm")
_WIDE = 60  # characters of a reason and of a command line


def status_lines(status: Status) -> Iterator[RenderableType]:
    """Yield the pipeline runs, versions, work in progress, disk usage and errors."""
    yield _pipeline_runs(status)
    yield _versions(status)
    yield from _work(status)
    yield _disk(status)
    for error in status.errors:
        yield f"no answer: {error}"


def _pipeline_runs(status: Status) -> Table:
    columns = (Column(name, no_wrap=True) for name in ("began (UTC)", "state", "took", "MPJPE", "version"))
    table = Table(*columns, "promotion", title="last pipeline runs")
    for run in status.pipeline_runs:
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.began)),
            run.state.lower(),
            _duration(run.seconds),
            "" if run.mpjpe_mm is None else f"{run.mpjpe_mm:.1f} mm",
            run.version or "",
            shorten(run.promotion or "", _WIDE, placeholder=" ..."),
        )
    return table


def _versions(status: Status) -> Table:
    table = Table("alias", "version", *(METRICS[name].label for name in _METRICS), title="versions")
    for alias, version in status.versions.items():
        scores = version["scores"]
        cells = (_score(name, scores[name]) if name in scores else "" for name in _METRICS)
        table.add_row(f"@{alias}", version["version"], *cells)
    return table


def _work(status: Status) -> Iterator[str]:
    if status.benchmark:
        yield f"benchmark: windows {status.benchmark}"
    for run in status.running:
        owner = (
            _cut(run.lock_owner) if run.lock_owner else "no process holds its lock: it is dead, or on another machine"
        )
        yield f"running: {run.name}, for {_duration(run.seconds)}; {owner}"
    for lock, owner in status.locks.items():
        yield f"locked: {lock}, by {_cut(owner)}"
    for flow in status.flow_runs or []:
        since = f" since {flow['since'][:16].replace('T', ' ')}" if flow["since"] else ""
        yield f"Prefect: {flow['flow']} {flow['name']}, {(flow['state'] or '').lower()}{since}"
    if not (status.running or status.locks or status.flow_runs):
        yield "nothing is running"


def _disk(status: Status) -> str:
    kinds = sorted(status.disk.items(), key=lambda kind: -kind[1]["bytes"])
    shares = "; ".join(f"{entry['count']:,} {kind} {size(entry['bytes'])}" for kind, entry in kinds)
    everything = sum(entry["bytes"] for entry in status.disk.values())
    return f"{status.store}: {size(everything)}, and {size(status.free_bytes)} free: {shares}"


def _score(name: str, value: float) -> str:
    return f"{value:.1f} {METRICS[name].unit}" if METRICS[name].unit else f"{100 * value:.1f} %"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"
