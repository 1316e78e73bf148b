"""Draw poses and windows."""

import numpy as np
import pyarrow as arrow
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS
from data_contracts.text import printable
from data_contracts.windows import to_numpy

LEFT, RIGHT, MIDDLE, TRUE = "#1f77b4", "#d62728", "#444444", "#b0b0b0"


def window_sheet(windows: arrow.Table) -> Figure:
    """Draw windows of a window table: the 2D input in the image, and the true 3D pose from the side."""
    pose_2d, pose_3d = to_numpy(windows, "pose_2d"), to_numpy(windows, "pose_3d")
    rows = 2 * ((len(windows) + 5) // 6)
    figure = Figure(figsize=(2 * 6, 2.2 * rows))
    axes = _grid(figure, rows, 6, top=1 - 0.1 / rows)
    middle = pose_2d.shape[1] // 2
    for index in range(len(windows)):
        row, column = 2 * (index // 6), index % 6
        draw_pose(axes[row, column], pose_2d[index, middle, :, :2])
        draw_pose(axes[row + 1, column], pose_3d[index, middle][:, [2, 1]])
        axes[row, column].set_title(printable(windows["action"][index].as_py())[:24], fontsize=8, y=1)
        axes[row + 1, column].set_title("truth from the side", fontsize=7, y=1)
    return figure


def lifted_sheet(pose_2d: np.ndarray, pred: np.ndarray, true: np.ndarray, titles: list[str]) -> Figure:
    """Draw lifted poses: the 2D input, then the prediction over the truth (grey) from the front, the side and above.

    `pose_2d` (n, 17, 3) is normalised; `pred` and `true` (n, 17, 3) are millimetres in camera axes, relative to the
    pelvis.
    """
    views = {"2D input": None, "front": [0, 1], "side": [2, 1], "above": [0, 2]}
    figure = Figure(figsize=(2.3 * len(titles), 2.3 * len(views)))
    axes = _grid(figure, len(views), len(titles), top=0.93)
    reach = 1.05 * max(np.abs(true).max(), np.abs(pred).max())
    for column, title in enumerate(titles):
        for row, (view, channels) in enumerate(views.items()):
            ax = axes[row, column]
            if channels is None:
                draw_pose(ax, pose_2d[column, :, :2])
                ax.set_title(printable(title)[:24], fontsize=9, y=1)
                continue
            draw_pose(ax, true[column][:, channels], colour=TRUE)
            draw_pose(ax, pred[column][:, channels])
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach) if view == "above" else (reach, -reach))
            if column == 0:
                ax.set_title(view, fontsize=8, loc="left", y=1)
    figure.suptitle("predicted (red right, blue left) over true (grey)", fontsize=9)
    return figure


def _grid(figure: Figure, rows: int, columns: int, top: float) -> np.ndarray:
    """Return axes without ticks; a layout engine would draw the figure twice."""
    axes: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.05, hspace=0.15)
    for ax in axes.flat:
        ax.set_axis_off()
        ax.set_title("", y=1)  # else Matplotlib searches a place for the title in every drawing
    return axes


def draw_pose(ax: Axes, points: np.ndarray, colour: str | None = None) -> None:
    """Draw one skeleton (17, 2), y down: right bones red and left bones blue, or all bones in `colour`."""
    sides = [LEFT if child in LEFT_JOINTS else RIGHT if child in RIGHT_JOINTS else MIDDLE for _, child in BONES]
    ax.add_collection(LineCollection(points[np.array(BONES)], colors=colour or sides, linewidths=1.8))
    ax.autoscale_view()
    ax.set_aspect("equal", adjustable="datalim" if colour is None and not ax.get_autoscale_on() else "box")
    if ax.get_autoscale_on() and not ax.yaxis_inverted():
        ax.invert_yaxis()
