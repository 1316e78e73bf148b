"""Write a page that compares the clips of a run with the champion's clips: new and removed clips, and drift.

Without a champion, or without its clips, the page describes the clips of the run alone.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from data_contracts.errors import InputError, some
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest
from data_contracts.text import html_text
from tasks.figures.motion import LEFT, MIDDLE
from tasks.tracking.registry import CHAMPION, MODEL_NAME, WINDOWS_TAG, aliased_versions
from tasks.tracking.runs import TrackedRun, connect
from tasks.viewer.clip_sets import DISTANCE, LEAST_DISTANCE, LEAST_INDEX, ClipSet, Drift, drifts
from tasks.viewer.evaluation_viewer import fill_template

DATA_PAGE = "data.html"  # name of the artifact in MLflow
_VALUES_NOTE = '<p class="faint">Values are medians (5th to 95th percentile).</p>'
_MAX_ROWS = 30  # of a table of subjects or actions


def log_data_page(store: Path, tracked: TrackedRun, clips: ClipSet) -> list[str]:
    """Log the page of `clips` to a run, tag the run with the changed distributions, and return the warnings."""
    reference, champion = champion_clips(store)
    results = drifts(champion, clips) if champion else []
    tracked.client.log_text(tracked.run_id, data_page(clips, champion, reference, results), DATA_PAGE)
    tracked.set_tags({"uplift.data.moved": ", ".join(drift.name for drift in results if drift.moved) or "nothing"})
    return drift_warnings(results)


def champion_clips(store: Path) -> tuple[str, ClipSet | None]:
    """Return a sentence about the reference of the comparison, and the clips of the champion (None if missing)."""
    champion = aliased_versions(connect(store)).get(CHAMPION)
    if champion is None:
        return f"The registry contains no {MODEL_NAME}@{CHAMPION} yet, so the clips are not compared.", None
    name = f"{MODEL_NAME} version {champion.version}, the champion"
    try:
        windows = resolve(store, "windows", champion.tags.get(WINDOWS_TAG, ""))
        clips = ClipSet.read(resolve(store, "clips", read_manifest(windows)["inputs"]["clips"]))
    except InputError as error:
        return f"The clips of {name}, cannot be read, so the clips are not compared: {error}.", None
    return f"Compared with clips {clips.digest} of {name}.", clips


def drift_warnings(results: Sequence[Drift]) -> list[str]:
    """Return one warning for each distribution whose drift is above its bound."""
    return [
        f"{drift.name}: the distribution moved since the champion's clips:"
        f" {drift.statistic} {drift.value:.3f}, bound {drift.bound:.3f}"
        for drift in results
        if drift.moved
    ]


def data_page(clips: ClipSet, champion: ClipSet | None, reference: str, results: Sequence[Drift]) -> str:
    """Return the page as HTML without scripts; `reference` is a sentence about the reference of the comparison."""
    sections = [
        _section("Overview", _overview(clips, champion), _VALUES_NOTE),
        _section("Distributions", _svg(compared_histograms(clips, champion)), *_drift_table(results)),
        _section("Subjects", _subjects(clips, champion)),
        _section("Actions", _actions(clips, champion)),
    ]
    if clips.checks_broken:
        broken = [[check, number] for check, number in clips.checks_broken.items()]
        sections.append(_section("Quarantine", _table(["failed check", "clips"], broken)))
    warnings = "".join(f'<p class="moved">{html_text(line)}</p>' for line in drift_warnings(results))
    title, text = html_text(f"Clips {clips.digest}"), "\n".join(sections)
    return fill_template("data.html", title=title, reference=html_text(reference), warnings=warnings, sections=text)


def compared_histograms(clips: ClipSet, champion: ClipSet | None) -> Figure:
    """Draw a histogram of each of `ClipSet.distributions`, with the champion's histogram as an outline."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    others = champion.distributions() if champion else {}
    axes = figure.subplots(1, len(clips.distributions()))
    for ax, (name, values) in zip(axes, clips.distributions().items(), strict=True):
        both = np.concatenate([values, others.get(name, values)])
        edges = np.histogram_bin_edges(both, 24)
        ax.hist(values, edges, weights=np.full(len(values), 1 / len(values)), color=LEFT, label="this run")
        if name in others:
            share = np.full(len(others[name]), 1 / len(others[name]))
            ax.hist(others[name], edges, weights=share, histtype="step", color=MIDDLE, label="champion")
        ax.set(xlabel=name)
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _overview(clips: ClipSet, champion: ClipSet | None) -> str:
    current = _facts(clips)
    if champion is None:
        return _table(["", "this run"], current.items())
    others, new, removed = _facts(champion), _only_in(clips, champion), _only_in(champion, clips)
    rows = [[name, value, others[name], new.get(name, ""), removed.get(name, "")] for name, value in current.items()]
    return _table(["", "this run", "champion", "new", "removed"], rows)


def _facts(clips: ClipSet) -> dict[str, str]:
    total = len(clips.table) + clips.quarantined
    return {
        **_counts(clips.subjects.index, clips.table, clips.actions.index),
        **{name: _span(values) for name, values in clips.distributions().items()},
        "quarantined": f"{clips.quarantined} of {total}, {clips.quarantined / total:.1%}",
    }


def _only_in(clips: ClipSet, other: ClipSet) -> dict[str, str]:
    """Return the numbers of subjects, clips, hours and actions that are in `clips` but not in `other`."""
    subjects = clips.subjects.index.difference(other.subjects.index)
    return _counts(subjects, clips.without(other), clips.actions.index.difference(other.actions.index))


def _counts(subjects: pd.Index, table: pd.DataFrame, actions: pd.Index) -> dict[str, str]:
    hours = _hours(table["seconds"].sum())
    return {"subjects": str(len(subjects)), "clips": str(len(table)), "hours": hours, "actions": str(len(actions))}


def _drift_table(results: Sequence[Drift]) -> list[str]:
    if not results:
        return []
    rows = [
        [drift.name, drift.statistic, f"{drift.value:.3f}", f"{drift.bound:.3f}", _verdict(drift)] for drift in results
    ]
    return [
        _table(["", "statistic", "value", "bound", ""], rows),
        f"""<p class="faint">Kolmogorov-Smirnov: the largest distance between the two distribution functions. Population
        stability index: the sum of (p - q) ln(p / q) over the two shares of each label. Two samples of one distribution
        exceed the bound once in a thousand cases; the bound is at least {LEAST_DISTANCE:g} and {LEAST_INDEX:g}. Clips
        of one subject are similar. With few subjects, a warning may only mean that the subjects are different.</p>""",
    ]


def _verdict(drift: Drift) -> str:
    if drift.moved:
        return "moved"
    return "too few values" if drift.statistic == DISTANCE and drift.bound >= 1 else "unchanged"


def _subjects(clips: ClipSet, champion: ClipSet | None) -> str:
    rows = {
        name: [clips.datasets.get(str(name), ""), count, _hours(seconds), f"{stature:.2f}"]
        for name, count, seconds, stature in clips.subjects.itertuples(name=None)
    }
    before = champion.subjects.index if champion else None
    return _listing("subjects", ["subject", "data set", "clips", "hours", "stature, m"], rows, before)


def _actions(clips: ClipSet, champion: ClipSet | None) -> str:
    old = champion.actions["seconds"].to_dict() if champion else {}
    rows = {
        name: [count, _hours(seconds), _hours(old.get(name, 0)) if champion else ""]
        for name, count, seconds in clips.actions.itertuples(name=None)
    }
    before = champion.actions.index if champion else None
    return _listing("actions", ["action", "clips", "hours", "hours of the champion" if champion else ""], rows, before)


def _listing(kind: str, head: list[str], rows: Mapping[Any, list[Any]], before: pd.Index | None) -> str:
    """Return a table of the first rows, new rows first, and the numbers of rows that follow or were removed."""
    is_new = {name: before is not None and name not in before for name in rows}
    names = sorted(rows, key=lambda name: not is_new[name])
    table = [[name, *rows[name], "new" if is_new[name] else ""] for name in names[:_MAX_ROWS]]
    rest = f'<p class="faint">and {len(rows) - _MAX_ROWS} more {kind}</p>' if len(rows) > _MAX_ROWS else ""
    removed = [] if before is None else before.difference(list(rows)).tolist()
    gone = f"<p>Only in the champion's clips: {html_text(some(removed))}.</p>" if removed else ""
    return _table([*head, ""], table) + rest + gone


def _span(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def _section(title: str, *content: str) -> str:
    return "\n".join([f"<h2>{title}</h2>", *content])


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [[f"<th>{html_text(name)}</th>" for name in head]]
    lines += [[f"<td>{html_text(value)}</td>" for value in row] for row in rows]
    return "<table>" + "\n".join(f"<tr>{''.join(line)}</tr>" for line in lines) + "</table>"


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    # text stays text, and equal figures have equal SVG
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": DATA_PAGE}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.DOTALL)
