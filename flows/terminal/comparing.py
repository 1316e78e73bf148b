"""The tables that `uplift compare` prints."""

from rich.table import Table
from rich.text import Text

from data_contracts.comparison import ComparedModel, Comparison, verdict
from data_contracts.report import METRICS, Estimate, Estimates, Metric

_STYLES = {"better": "green", "worse": "red", "not certain": "dim"}
_PARTS = {"joint": "per_joint_mm", "action": "per_action_mm", "person": "per_group_mm", "camera yaw": "per_yaw_mm"}
_MOST_PARTS = 10


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return a table of all metrics with differences from the first model, and tables of the certain differences."""
    certain = [_certain_parts(one, comparison) for one in comparison.models]
    return [_metrics(comparison), *(table for table in certain if table is not None)]


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
        table.add_row(f"{metric.label}, {unit}", *(_cell(name, metric, one) for one in comparison.models))
    return table


def _cell(name: str, metric: Metric, compared_model: ComparedModel) -> Text:
    score = _number(compared_model.scores.metrics()[name].value, metric)
    if compared_model.difference is None:
        return Text(score)
    difference = compared_model.difference.metrics()[name]
    said = verdict(name, difference)
    return Text.assemble(score, "\n", (f"{_difference(difference, metric)} {said}", _STYLES[said]))


def _certain_parts(compared_model: ComparedModel, comparison: Comparison) -> Table | None:
    """The parts whose MPJPE differs from the first's, the worst first; each is judged on its own."""
    if compared_model.difference is None:
        return None
    of_all, metric = _parts_of(compared_model.difference), METRICS["mpjpe_mm"]
    certain = {part: one for part, one in of_all.items() if verdict("mpjpe_mm", one) != "not certain"}
    if not certain:
        return None
    title = (
        f"MPJPE of {compared_model.name} less that of {comparison.models[0].name}, in mm: the {len(certain)} of"
        f" {len(of_all)} parts whose interval leaves out 0"
    )
    table = Table("part", "difference", "windows", "over", title=title)
    shown = sorted(certain, key=lambda part: -certain[part].value)
    if len(shown) > 2 * _MOST_PARTS:
        table.caption = f"the {_MOST_PARTS} worst and the {_MOST_PARTS} best of them; --json has all"
        shown = shown[:_MOST_PARTS] + shown[-_MOST_PARTS:]
    for part in shown:
        one = certain[part]
        cell = Text(_difference(one, metric), _STYLES[verdict("mpjpe_mm", one)])
        table.add_row(part, cell, f"{one.windows:,}", f"{one.units} {one.over}")
    return table


def _parts_of(scores: Estimates) -> dict[str, Estimate]:
    return {f"{what} {name}": one for what, field in _PARTS.items() for name, one in getattr(scores, field).items()}


def _difference(difference: Estimate, metric: Metric) -> str:
    interval = difference.interval
    bounds = f" [{', '.join(_number(bound, metric, '+') for bound in interval)}]" if interval else ""
    return f"{_number(difference.value, metric, '+')}{bounds}"


def _number(value: float, metric: Metric, sign: str = "") -> str:
    return f"{value if metric.unit else 100 * value:{sign}.2f}"
