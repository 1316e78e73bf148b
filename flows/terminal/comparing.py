"""Tables of `uplift compare`."""

from rich.table import Table
from rich.text import Text

from data_contracts.report import METRICS, ComparedModel, Comparison, Estimate, Estimates, Metric, verdict

_STYLES = {"better": "green", "worse": "red", "not certain": "dim"}
_PARTS = {"joint": "per_joint_mm", "action": "per_action_mm", "person": "per_group_mm", "camera yaw": "per_yaw_mm"}
_MOST_PARTS = 10


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
    """Return a table of the parts whose MPJPE certainly differs from the first model's, the worst first."""
    if compared_model.difference is None:
        return None
    parts, metric = _parts_of(compared_model.difference), METRICS["mpjpe_mm"]
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


def _parts_of(scores: Estimates) -> dict[str, Estimate]:
    return {
        f"{kind} {name}": estimate
        for kind, field in _PARTS.items()
        for name, estimate in getattr(scores, field).items()
    }


def _difference(difference: Estimate, metric: Metric) -> str:
    interval = difference.interval
    bounds = f" [{', '.join(_number(bound, metric, '+') for bound in interval)}]" if interval else ""
    return f"{_number(difference.value, metric, '+')}{bounds}"


def _number(value: float, metric: Metric, sign: str = "") -> str:
    return f"{value if metric.unit else 100 * value:{sign}.2f}"
