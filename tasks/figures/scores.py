"""Draw the scores of a report by joint, action and subject, and the PCK curves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from data_contracts.report import PCK_CURVE_MM, PCK_MM, Estimate, Report
from data_contracts.skeleton import BONES, JOINTS
from data_contracts.text import printable

COLOURS = {"model": "#1f77b4", "mlp": "#d62728", "linear": "#7f7f7f", "mean_depth": "#c7c7c7"}
MAX_BARS = 30

# Joint positions of a standing person, seen from the front: x to the right of the figure, y up.
_STANDING = np.array(
    [
        *((0, 0), (-0.9, -0.1), (-1.0, -2.2), (-1.05, -4.2), (0.9, -0.1), (1.0, -2.2), (1.05, -4.2)),
        *((0, 1.3), (0, 2.6), (0, 3.5), (0, 4.3)),
        *((1.1, 2.5), (1.9, 1.1), (2.5, -0.3), (-1.1, 2.5), (-1.9, 1.1), (-2.5, -0.3)),
    ]
)


def pck_curves(report: Report) -> Figure:
    """Draw the PCK curves: share of joints within a distance (mm) of their target, one curve per method."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for method, scores in report.methods().items():
        label = f"{_label(method)}: AUC {100 * scores.auc_150.value:.1f} %"
        width = 2.2 if method == "model" else 1.4
        ax.plot(PCK_CURVE_MM, 100 * np.array(scores.pck_curve), color=COLOURS[method], linewidth=width, label=label)
    ax.axvline(PCK_MM, color="#444444", linewidth=0.8, linestyle=":")
    ax.text(PCK_MM - 2, 2, f"PCK@{PCK_MM:.0f}mm", ha="right", fontsize=8, color="#444444")
    ax.set(xlabel="distance from the target, mm", ylabel="joints within it, %", xlim=(0, 200), ylim=(0, 100))
    cameras = f"{report.projection} cameras"
    ax.set_title(f"{report.frames:,} frames, {report.people} subjects, split {report.split}, {cameras}", fontsize=10)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.08), framealpha=1, edgecolor="none")  # above the threshold line
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def joint_skeletons(report: Report) -> Figure:
    """Draw one standing skeleton per method, coloured by the mean error of each joint (mm) on a common scale."""
    errors = {
        method: np.array([scores.per_joint_mm[joint].value for joint in JOINTS])
        for method, scores in report.methods().items()
    }
    figure = Figure(figsize=(3.1 * len(errors) + 0.8, 5), layout="constrained")
    scale = Normalize(0, max(joint_errors.max() for joint_errors in errors.values()))
    axes = figure.subplots(1, len(errors))
    for ax, (method, joint_errors) in zip(axes, errors.items(), strict=True):
        ax.add_collection(LineCollection(_STANDING[np.array(BONES)], colors="#b0b0b0", linewidths=2, zorder=1))
        ax.scatter(*_STANDING.T, c=joint_errors, s=330, cmap="YlOrRd", norm=scale, edgecolors="#666666", zorder=2)
        for (x, y), error in zip(_STANDING, joint_errors, strict=True):
            dark = scale(error) > 0.6
            ax.text(x, y, f"{error:.0f}", ha="center", va="center", fontsize=7.5, color="w" if dark else "k", zorder=3)
        mean = getattr(report, method).mpjpe_mm.value
        ax.set_title(f"{_label(method)}: {mean:.1f} mm", fontsize=10)
        ax.set(xlim=(-3, 3), ylim=(-4.9, 4.9), aspect="equal")
        ax.set_axis_off()
    bar = figure.colorbar(ScalarMappable(scale, "YlOrRd"), ax=axes, shrink=0.7, pad=0.01)
    bar.set_label("mean error of a joint, mm")
    figure.text(
        0.01, 0.01, "seen from the front: the right side of the body is on the left", fontsize=8, color="#666666"
    )
    return figure


def error_bars(report: Report) -> Figure:
    """Draw the MPJPE (mm) by action and by subject, with intervals, for model and MLP, the largest first."""
    panels = {
        "action": (report.model.per_action_mm, report.mlp.per_action_mm),
        "subject": (report.model.per_group_mm, report.mlp.per_group_mm),
    }
    bars = max(min(MAX_BARS, len(model)) for model, _ in panels.values())
    figure = Figure(figsize=(12, 1.6 + 0.3 * max(bars, 4)), layout="constrained")
    for ax, (label, (model, mlp)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        worst = sorted(model, key=lambda name: -model[name].value)[:MAX_BARS]
        _bars(ax, worst, mlp, COLOURS["mlp"], offset=0.19, label="mlp")
        _bars(ax, worst, model, COLOURS["model"], offset=-0.19, label="model")
        ax.set_yticks(range(len(worst)), [printable(name)[:32] for name in worst], fontsize=8)
        ax.set_ylim(max(len(worst), 4) - 0.4, -0.6)  # limits the height of a bar if there are few
        count = f"{len(worst)} worst of {len(model)}" if len(worst) < len(model) else f"{len(worst)}"
        ax.set_title(f"by {label} ({count})", fontsize=10)
        units = sorted({"subjects" if score.over == "people" else "clips" for score in model.values()}, reverse=True)
        ax.set_xlabel(f"MPJPE, mm; lines: {report.resampling.confidence:.0%} interval over {' or '.join(units)}")
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2, frameon=False)
    return figure


def _bars(ax: Axes, names: list[str], errors: Mapping[str, Estimate], colour: str, offset: float, label: str) -> None:
    places = np.arange(len(names)) + offset
    ax.barh(places, [errors[name].value for name in names], 0.36, color=colour, label=label)
    for place, name in zip(places, names, strict=True):
        if interval := errors[name].interval:
            ax.plot(interval, (place, place), color="#222222", linewidth=1.1)


def _label(method: str) -> str:
    return method.replace("_", " ")
