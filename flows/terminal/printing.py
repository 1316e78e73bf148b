"""What a command prints: tables for a person, and one JSON object for a program.

A path, a name or a reason is shown as it is, even if it contains rich markup; control characters are shown escaped.
"""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_contracts.report import METHODS, ROBUSTNESS_METHODS, StageResult
from data_contracts.text import printable


def console(as_json: bool) -> Console:
    """Where a person reads: stdout, or stderr where stdout is a program's."""
    return _Terminal(stderr=as_json, markup=False, emoji=False)


class _Terminal(Console):
    """A console that shows control characters escaped, in lines and in cells of tables."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that rich prints for a string."""
        return super().render_str(printable(text, keep="\n\t"), **options)


def print_json(as_json: bool, outcome: dict[str, Any]) -> None:
    """The last line on stdout, where it is asked for."""
    if as_json:
        print(json.dumps(outcome), flush=True)


def size(count: float | None) -> str:
    """Bytes as people say them; none: files of another machine."""
    if count is None:
        return "size not known here"
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def print_stage(result: StageResult, as_json: bool, next_command: str) -> None:
    """What came out of a stage, where it is, and the command that takes it further."""
    to_person = console(as_json)
    to_person.print(stage_table({result.stage: result.model_dump()}))
    if "metrics" in result.statistics:
        to_person.print(*score_tables(result.statistics))
    to_person.print(f"{result.folder}\nnext: {next_command}", soft_wrap=True)
    print_json(as_json, result.summary())


def stage_table(stages: dict[str, dict[str, Any]]) -> Table:
    """A row for each stage, by its name: a `StageResult` as a dict."""
    table = Table("stage", "seconds", "what came out", title="stages")
    for name, stage in stages.items():
        counts = ", ".join(
            f"{key} {' / '.join(map(str, value.values())) if isinstance(value, dict) else value}"
            for key, value in stage["counts"].items()
        )
        if "val_mpjpe_mm" in stage["statistics"]:
            counts += f", validation MPJPE {stage['statistics']['val_mpjpe_mm']:.1f} mm"
        table.add_row(name, "cached" if stage["cached"] else f"{stage['seconds']:.1f}", counts)
    return table


def people_table(files: list[dict[str, Any]]) -> Table:
    """A row for each person of each file that was lifted."""
    table = Table("file", "person", "frames", "files", "folder", title="lifted")
    for file in files:
        for person in file["people"]:
            written = " ".join(name.removeprefix("motion.") for name in person["files"])
            table.add_row(file["name"], person["name"], f"{person['frames']:,}", written, person["folder"])
    return table


def score_tables(statistics: dict[str, Any]) -> list[Table]:
    """Scores, and robustness where it was asked for: the statistics of an evaluation."""
    tables = [score_table(statistics["metrics"], statistics["intervals"], statistics["resampled"])]
    return [*tables, robustness_table(statistics["robustness"])] if "robustness" in statistics else tables


def score_table(
    metrics: dict[str, dict[str, float]], intervals: dict[str, dict[str, tuple[float, float]]], resampled: str
) -> Table:
    """A row for the model and each baseline; `resampled`: what the intervals of the MPJPE are over, `6 people`."""
    columns = ("MPJPE", "P-MPJPE", "PCK@150", "AUC", "MPJVE", "trained")
    title = f"MPJPE [95 % over {resampled}], P-MPJPE in mm; MPJVE in mm per frame; PCK at 150 mm, AUC in %"
    table = Table("held out", *columns, title=title)
    for method in METHODS:
        scores, between = metrics[method], intervals[method].get("mpjpe_mm")
        bounds = f" [{', '.join(f'{bound:.3g}' for bound in between)}]" if between else ""
        shares = (f"{100 * scores[name]:.1f}" for name in ("pck_150", "auc_150"))
        trained = f"{scores['train_minutes']:.1f} min" if "train_minutes" in scores else "?"
        row = (f"{scores['mpjpe_mm']:.1f}{bounds}", f"{scores['p_mpjpe_mm']:.1f}", *shares)
        style = "bold" if method == "model" else None
        table.add_row(method.replace("_", " "), *row, f"{scores['mpjve_mm']:.2f}", trained, style=style)
    return table


def robustness_table(robustness: dict[str, Any]) -> Table:
    """A row for each condition, a `Robustness` as a dict; detectors under which all score the same share one."""
    title = f"MPJPE in mm as detectors would show it ({robustness['windows']:,} windows)"
    table = Table("2D as seen", *ROBUSTNESS_METHODS, title=title)
    errors: dict[str, dict[str, float]] = robustness["mpjpe_mm"]
    alike: dict[tuple[float, ...], list[str]] = {}
    for condition, by_method in errors.items():
        alike.setdefault(tuple(by_method[method] for method in ROBUSTNESS_METHODS), []).append(condition)
    for row, conditions in alike.items():
        table.add_row(", ".join(conditions), *(f"{error:.1f}" for error in row))
    return table
