"""Output of commands: tables for people, and one JSON object for programs.

Paths, names and reasons are printed without rich markup; control characters are escaped.
"""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from data_contracts.benchmarks.scores import BenchmarkScores
from data_contracts.errors import some
from data_contracts.labelled_scores import MEAN
from data_contracts.motion.video_scores import VideoScores
from data_contracts.report import (
    METHODS,
    METRICS,
    ROBUSTNESS_METHODS,
    ComparedModel,
    Comparison,
    Estimate,
    Metric,
    counts_text,
    verdict,
)
from data_contracts.store.folders import StageResult
from data_contracts.text import printable

_STYLES = {"better": "green", "worse": "red", "not certain": "dim"}
_PARTS = {"joint": "per_joint_mm", "action": "per_action_mm", "person": "per_group_mm", "camera yaw": "per_yaw_mm"}
_MOST_PARTS = 10


def console(as_json: bool) -> Console:
    """Return the console for people: stdout, or stderr if stdout is for a program."""
    return _Terminal(stderr=as_json, markup=False, emoji=False)


class _Terminal(Console):
    """Console that escapes control characters in lines and in cells of tables."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that rich prints for a string."""
        return super().render_str(printable(text, keep="\n\t"), **options)


def print_output(as_json: bool, outcome: dict[str, Any], *lines: RenderableType) -> None:
    """Print tables, trees and lines for people and, if `as_json`, the outcome as the last line on stdout."""
    terminal = console(as_json)
    for line in lines:
        terminal.print(line, soft_wrap=isinstance(line, str | Tree), highlight=False)
    if as_json:
        print(json.dumps(outcome), flush=True)


def print_stage(result: StageResult, as_json: bool, next_command: str, lines: Sequence[str] = ()) -> None:
    """Print the counts and scores of a stage, `lines`, its folder and the next command."""
    tables = [stage_table({result.stage: result.model_dump()})]
    if "metrics" in result.statistics:
        tables += score_tables(result.statistics)
    print_output(as_json, result.summary(), *tables, *lines, f"{result.folder}\nnext: {next_command}")


def stage_table(stages: dict[str, dict[str, Any]]) -> Table:
    """Return a table with a row per stage; `stages` contains the `StageResult` of each stage as a dict."""
    table = Table("stage", "seconds", "output", title="stages")
    for name, stage in stages.items():
        counts = counts_text(stage["counts"], stage["statistics"])
        table.add_row(name, "cached" if stage["cached"] else f"{stage['seconds']:.1f}", counts)
    return table


def people_table(files: list[dict[str, Any]]) -> Table:
    """Return a table with a row per person of each lifted file."""
    table = Table("file", "person", "frames", "files", "folder", title="lifted")
    for file in files:
        for person in file["people"]:
            names = " ".join(name.removeprefix("motion.") for name in person["files"])
            table.add_row(file["name"], person["name"], f"{person['frames']:,}", names, person["folder"])
    return table


def assumption_lines(files: list[dict[str, Any]]) -> list[str]:
    """Return each assumption about lifted files once, with the names of its files unless it holds for all files."""
    names: dict[str, list[str]] = {}
    for file in files:
        for line in file["assumed"]:
            names.setdefault(line, []).append(file["name"])
    return [line if len(of) == len(files) else f"{line} [{some(of)}]" for line, of in names.items()]


def score_tables(statistics: dict[str, Any]) -> list[Table]:
    """Return the tables of an evaluation: scores, and robustness and real video if these were computed."""
    tables = [score_table(statistics["metrics"], statistics["intervals"], statistics["resampled"])]
    tables += [robustness_table(statistics["robustness"])] if "robustness" in statistics else []
    return [*tables, video_table(statistics["real_video"])] if "real_video" in statistics else tables


def score_table(
    metrics: dict[str, dict[str, float]], intervals: dict[str, dict[str, tuple[float, float]]], resampled: str
) -> Table:
    """Return a table with a row for the model and each baseline; `resampled` names number and kind of units."""
    columns = ("MPJPE", "P-MPJPE", "PCK@150", "AUC", "MPJVE", "trained")
    title = f"MPJPE [95 % over {resampled}], P-MPJPE in mm; MPJVE in mm per frame; PCK at 150 mm, AUC in %"
    table = Table("held out", *columns, title=title)
    for method in METHODS:
        scores, interval = metrics[method], intervals[method].get("mpjpe_mm")
        bounds = f" [{', '.join(f'{bound:.3g}' for bound in interval)}]" if interval else ""
        shares = (f"{100 * scores[name]:.1f}" for name in ("pck_150", "auc_150"))
        trained = f"{scores['train_minutes']:.1f} min" if "train_minutes" in scores else "?"
        row = (f"{scores['mpjpe_mm']:.1f}{bounds}", f"{scores['p_mpjpe_mm']:.1f}", *shares)
        style = "bold" if method == "model" else None
        table.add_row(method.replace("_", " "), *row, f"{scores['mpjve_mm']:.2f}", trained, style=style)
    return table


def robustness_table(robustness: dict[str, Any]) -> Table:
    """Return a table of a `Robustness` dict with a row per condition; conditions with equal scores share a row."""
    title = f"MPJPE in mm with simulated detector output ({robustness['windows']:,} windows)"
    table = Table("2D input", *ROBUSTNESS_METHODS, title=title)
    errors: dict[str, dict[str, float]] = robustness["mpjpe_mm"]
    same_scores: dict[tuple[float, ...], list[str]] = {}
    for condition, by_method in errors.items():
        same_scores.setdefault(tuple(by_method[method] for method in ROBUSTNESS_METHODS), []).append(condition)
    for row, conditions in same_scores.items():
        table.add_row(", ".join(conditions), *(f"{error:.1f}" for error in row))
    return table


def video_table(methods: dict[str, dict[str, Any]]) -> Table:
    """Return a table of a report's `real_video` with a row per score: means over the clips."""
    clips = len(methods["model"]) - 1
    table = Table("real video", *methods, title=f"means of {clips} clips with marker truth, errors in mm")
    cells = [VideoScores(**scores[MEAN]).cells() for scores in methods.values()]
    for row in zip(VideoScores.titles().values(), *cells, strict=True):
        table.add_row(*row)
    return table


def benchmark_table(groups: dict[str, dict[str, Any]]) -> Table:
    """Return a table of the scores of a benchmark, with a row per action or sequence."""
    table = Table("", *BenchmarkScores.titles().values(), title="All MPJPE are in mm; PCK at 150 mm and AUC are in %.")
    for group, scores in groups.items():
        table.add_row(group, *BenchmarkScores(**scores).cells(), style="bold" if group == MEAN else None)
    return table


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return a table of all metrics with differences from the first model, and tables of the certain differences."""
    parts = [_certain_parts(compared_model, comparison) for compared_model in comparison.models]
    return [_metrics(comparison), *(table for table in parts if table is not None)]


def _metrics(comparison: Comparison) -> Table:
    first, confidence = comparison.models[0].scores.mpjpe_mm, comparison.resampling.confidence
    table = Table(
        "score",
        *(compared_model.name for compared_model in comparison.models),
        title=f"{first.windows:,} windows of {comparison.windows}, split {comparison.split}: scores, and below them"
        f" their difference from the first with its {confidence:.0%} interval over {first.units} {first.over}",
        show_lines=True,
    )
    for name, metric in METRICS.items():
        unit = metric.unit or "%"
        table.add_row(
            f"{metric.label}, {unit}", *(_cell(name, metric, compared_model) for compared_model in comparison.models)
        )
    return table


def _cell(name: str, metric: Metric, compared_model: ComparedModel) -> Text:
    score = _number(compared_model.scores.metrics()[name].value, metric)
    if compared_model.difference is None:
        return Text(score)
    difference = compared_model.difference.metrics()[name]
    judgement = verdict(name, difference)
    return Text.assemble(score, "\n", (f"{_difference(difference, metric)} {judgement}", _STYLES[judgement]))


def _certain_parts(compared_model: ComparedModel, comparison: Comparison) -> Table | None:
    """Return a table of the joints, actions, ... (`_PARTS`) whose difference is certain, the largest first."""
    if compared_model.difference is None:
        return None
    parts: dict[str, Estimate] = {
        f"{kind} {name}": estimate
        for kind, field in _PARTS.items()
        for name, estimate in getattr(compared_model.difference, field).items()
    }
    metric = METRICS["mpjpe_mm"]
    certain = {part: estimate for part, estimate in parts.items() if verdict("mpjpe_mm", estimate) != "not certain"}
    if not certain:
        return None
    title = (
        f"MPJPE of {compared_model.name} minus that of {comparison.models[0].name}, in mm: the {len(certain)} of"
        f" {len(parts)} parts whose interval excludes 0"
    )
    table = Table("part", "difference", "windows", "over", title=title)
    rows = sorted(certain, key=lambda part: -certain[part].value)
    if len(rows) > 2 * _MOST_PARTS:
        table.caption = f"the {_MOST_PARTS} worst and the {_MOST_PARTS} best of them; --json has all"
        rows = rows[:_MOST_PARTS] + rows[-_MOST_PARTS:]
    for part in rows:
        estimate = certain[part]
        cell = Text(_difference(estimate, metric), _STYLES[verdict("mpjpe_mm", estimate)])
        table.add_row(part, cell, f"{estimate.windows:,}", f"{estimate.units} {estimate.over}")
    return table


def _difference(difference: Estimate, metric: Metric) -> str:
    interval = difference.interval
    bounds = f" [{', '.join(_number(bound, metric, '+') for bound in interval)}]" if interval else ""
    return f"{_number(difference.value, metric, '+')}{bounds}"


def _number(value: float, metric: Metric, sign: str = "") -> str:
    return f"{value if metric.unit else 100 * value:{sign}.2f}"
