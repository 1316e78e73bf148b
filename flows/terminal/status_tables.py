"""A store's state as a person reads it, on one screen."""

import time
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from rich.console import RenderableType
from rich.table import Column, Table

from data_contracts.report import METRICS
from flows.terminal.printing import size
from tasks.status import Status

_SHOWN = ("mpjpe_mm", "p_mpjpe_mm", "pck_150", "mpjve_mm")
_WIDE = 60  # characters of a reason, of what came of a night, and of a command line


def status_lines(status: Status, flow_runs: list[dict[str, Any]]) -> Iterator[RenderableType]:
    """Nights, versions, what is at work, the disk, and what could not be asked."""
    yield _nights(status)
    yield _versions(status)
    yield from _at_work(status, flow_runs)
    yield _disk(status)
    for what in status.unasked:
        yield f"could not be asked: {what}"


def _nights(status: Status) -> Table:
    columns = (Column(name, no_wrap=True) for name in ("night (UTC)", "state", "took", "MPJPE", "version"))
    table = Table(*columns, "what came of it", title="last nights")
    for night in status.nights:
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(night.began)),
            night.state.lower(),
            _duration(night.seconds),
            "" if night.mpjpe_mm is None else f"{night.mpjpe_mm:.1f} mm",
            night.version or "",
            shorten(night.promotion or "", _WIDE, placeholder=" ..."),
        )
    return table


def _versions(status: Status) -> Table:
    table = Table("alias", "version", *(METRICS[name].label for name in _SHOWN), title="versions")
    for alias, version in status.versions.items():
        scores = version["scores"]
        cells = (_score(name, scores[name]) if name in scores else "" for name in _SHOWN)
        table.add_row(f"@{alias}", version["version"], *cells)
    return table


def _at_work(status: Status, flow_runs: list[dict[str, Any]]) -> Iterator[str]:
    if status.benchmark:
        yield f"versions meet on windows {status.benchmark}"
    for run in status.running:
        whose = _cut(run.holder) if run.holder else "nobody holds its lock: its process is dead, or on another machine"
        yield f"at work: {run.name}, for {_duration(run.seconds)}; {whose}"
    for lock, who in status.locks.items():
        yield f"held: {lock}, by {_cut(who)}"
    for flow in flow_runs:
        since = f" since {flow['since'][:16].replace('T', ' ')}" if flow["since"] else ""
        yield f"Prefect: {flow['flow']} {flow['name']}, {flow['state'].lower()}{since}"
    if not (status.running or status.locks or flow_runs):
        yield "nothing is at work"


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
