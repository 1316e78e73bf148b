"""A page a night: what is new in the clips since those that the champion was made from, and whether they moved.

Of clip stores the manifests and the Parquet columns beside the poses are read, once. Where there is no champion, or its
clips are gone, the page says so and shows what the clips are.
"""

import io
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

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
from tasks.viewer.clip_sets import ClipSet, drifts
from tasks.viewer.drift import DISTANCE, LEAST_DISTANCE, LEAST_INDEX, Drift

DATA_PAGE = "data.html"  # its name in MLflow
_SPANS = '<p class="faint">Of values: the median (5th to 95th percentile).</p>'
_ROWS = 30  # of a table of people or actions


def log_data_page(store: Path, tracked: TrackedRun, clips: ClipSet) -> list[str]:
    """Log the page of `clips` beside the champion's to a run, tagged with what moved; returns the page's warnings."""
    beside, champion = champion_clips(store)
    found = drifts(champion, clips) if champion else []
    tracked.client.log_text(tracked.run_id, data_page(clips, champion, beside, found), DATA_PAGE)
    tracked.set_tags({"uplift.data.moved": ", ".join(one.what for one in found if one.moved) or "nothing"})
    return warnings_of(found)


def champion_clips(store: Path) -> tuple[str, ClipSet | None]:
    """A sentence that says what the clips are compared with, and those clips, as far as the store has them."""
    champion = aliased_versions(connect(store)).get(CHAMPION)
    if champion is None:
        return f"There is no {MODEL_NAME}@{CHAMPION} yet to compare with.", None
    name = f"{MODEL_NAME} version {champion.version}, the champion"
    try:
        windows = resolve(store, "windows", champion.tags.get(WINDOWS_TAG, ""))
        clips = ClipSet.read(resolve(store, "clips", read_manifest(windows)["inputs"]["clips"]))
    except InputError as error:
        return f"The clips of {name}, cannot be compared with: {error}.", None
    return f"Beside clips {clips.digest}, those of {name}.", clips


def warnings_of(found: Sequence[Drift]) -> list[str]:
    """A line for every distribution that moved."""
    return [
        f"{one.what}: moved since the champion's clips: {one.statistic} {one.value:.3f}, bound {one.bound:.3f}"
        for one in found
        if one.moved
    ]


def data_page(clips: ClipSet, champion: ClipSet | None, beside: str, found: Sequence[Drift]) -> str:
    """The page as HTML, without scripts; `beside` says what it is compared with, `found` whether that moved."""
    sections = [
        _section("What there is", _overview(clips, champion), _SPANS),
        _section("Distributions", _svg(compared_histograms(clips, champion)), *_verdicts(found)),
        _section("People", _people(clips, champion)),
        _section("Actions", _actions(clips, champion)),
    ]
    if clips.checks_broken:
        broken = [[check, number] for check, number in clips.checks_broken.items()]
        sections.append(_section("Quarantine", _table(["check broken", "clips"], broken)))
    lines = "".join(f'<p class="moved">{html_text(line)}</p>' for line in warnings_of(found))
    parts = {"title": html_text(f"Clips {clips.digest}"), "beside": html_text(beside), "warnings": lines}
    parts["sections"] = "\n".join(sections)
    template = (files(__package__) / "data.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place.group(1)], template)


def compared_histograms(clips: ClipSet, champion: ClipSet | None) -> Figure:
    """Of each of `ClipSet.numbers` the share of clips (people) by value; the champion's as an outline."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    others = champion.numbers() if champion else {}
    axes = figure.subplots(1, len(clips.numbers()))
    for ax, (name, values) in zip(axes, clips.numbers().items(), strict=True):
        both = np.concatenate([values, others.get(name, values)])
        edges = np.histogram_bin_edges(both, 24)
        ax.hist(values, edges, weights=np.full(len(values), 1 / len(values)), color=LEFT, label="these")
        if name in others:
            share = np.full(len(others[name]), 1 / len(others[name]))
            ax.hist(others[name], edges, weights=share, histtype="step", color=MIDDLE, label="the champion's")
        ax.set(xlabel=name)
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _overview(clips: ClipSet, champion: ClipSet | None) -> str:
    these = _facts(clips)
    if champion is None:
        return _table(["", "these"], these.items())
    others, new, gone = _facts(champion), _only_in(clips, champion), _only_in(champion, clips)
    rows = [[name, value, others[name], new.get(name, ""), gone.get(name, "")] for name, value in these.items()]
    return _table(["", "these", "the champion's", "new", "gone"], rows)


def _facts(clips: ClipSet) -> dict[str, str]:
    table, every = clips.table, len(clips.table) + clips.quarantined
    return {
        "people": str(len(clips.people)),
        "clips": str(len(table)),
        "hours": _hours(table["seconds"].sum()),
        "actions": str(len(clips.actions)),
        **{name: _span(values) for name, values in clips.numbers().items()},
        "quarantined": f"{clips.quarantined} of {every}, {clips.quarantined / every:.1%}",
    }


def _only_in(clips: ClipSet, other: ClipSet) -> dict[str, str]:
    """What `clips` have and `other` has not."""
    table = clips.without(other)
    return {
        "people": str(len(clips.people.index.difference(other.people.index))),
        "clips": str(len(table)),
        "hours": _hours(table["seconds"].sum()),
        "actions": str(len(clips.actions.index.difference(other.actions.index))),
    }


def _verdicts(found: Sequence[Drift]) -> list[str]:
    if not found:
        return []
    rows = [[one.what, one.statistic, f"{one.value:.3f}", f"{one.bound:.3f}", _verdict(one)] for one in found]
    return [
        _table(["", "statistic", "value", "bound", ""], rows),
        f"""<p class="faint">Kolmogorov-Smirnov: the largest distance between the two distribution functions. Population
        stability index: the sum of (p - q) ln(p / q) over the two shares of each label. A bound is what two samples of
        one distribution pass once in a thousand, at least {LEAST_DISTANCE:g} and {LEAST_INDEX:g}. Clips of one person
        are alike, so that with few people a warning may say no more than that they are others.</p>""",
    ]


def _verdict(one: Drift) -> str:
    if one.moved:
        return "moved"
    return "too few to tell" if one.statistic == DISTANCE and one.bound >= 1 else "as before"


def _people(clips: ClipSet, champion: ClipSet | None) -> str:
    people = clips.people.sort_values("seconds", ascending=False)
    before = champion.people.index if champion else None
    rows: list[list[object]] = [
        [person, clips.datasets.get(str(person), ""), count, _hours(seconds), f"{stature:.2f}", _news(person, before)]
        for person, count, seconds, stature in people.itertuples(name=None)
    ]
    return _first(["person", "data set", "clips", "hours", "stature, m", ""], rows, "people") + _gone(people, before)


def _actions(clips: ClipSet, champion: ClipSet | None) -> str:
    actions = clips.actions.sort_values("seconds", ascending=False)
    before = champion.actions.index if champion else None
    was = champion.actions["seconds"].to_dict() if champion else {}
    rows: list[list[object]] = [
        [action, count, _hours(seconds), _hours(was.get(action, 0)) if champion else "", _news(action, before)]
        for action, count, seconds in actions.itertuples(name=None)
    ]
    beside = "hours of the champion's" if champion else ""
    return _first(["action", "clips", "hours", beside, ""], rows, "actions") + _gone(actions, before)


def _news(name: object, before: pd.Index | None) -> str:
    return "new" if before is not None and name not in before else ""


def _gone(now: pd.DataFrame, before: pd.Index | None) -> str:
    names = [] if before is None else before.difference(now.index).tolist()
    return f"<p>Gone since the champion's: {html_text(some(names))}.</p>" if names else ""


def _first(head: list[str], rows: list[list[object]], what: str) -> str:
    """A table of the first rows, those that are new before the others, and how many more there are."""
    rows = sorted(rows, key=lambda row: row[-1] != "new")
    rest = f'<p class="faint">and {len(rows) - _ROWS} more {what}</p>' if len(rows) > _ROWS else ""
    return _table(head, rows[:_ROWS]) + rest


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
    with rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": DATA_PAGE}
    ):  # letters as letters; equal figures, equal text
        figure.savefig(text, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.DOTALL)
