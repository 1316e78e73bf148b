"""GIF: what was lifted beside what it was lifted from, for a chat, a slide or a README.

Notable decisions:
- a frame each 0.09 s (GIF counts hundredths) and at most 240 of them, at the pace of the motion: of what lasts longer
  than 21.6 s, they lie farther apart. So it takes seconds whatever there is to show;
- axes are drawn once, and each frame draws its bones onto a copy of them: five times as fast as `PillowWriter`, which
  draws all of a figure twice a frame. What is in view stays as it is: what moves is the person;
- one person who goes farther than 4 m would be too small to be seen, and is shown in place.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from PIL import Image

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS

MOST_FRAMES = 240
SHORTEST = 9  # hundredths of a second between two frames
_FARTHEST = 4.0  # metres
_INCHES, _DPI = (8.0, 4.0), 80
_RIGHT, _LEFT, _MIDDLE = "tab:red", "tab:blue", "0.45"
_PAIRS = np.array(BONES)
_COLORS = [_RIGHT if end in RIGHT_JOINTS else _LEFT if end in LEFT_JOINTS else _MIDDLE for _, end in BONES]


def write_gif(motions: Sequence[Motion], path: Path) -> None:
    """Write the keypoints, in pixels, beside the joints in the world; people of one video at once, by their frames.

    Parameters
    ----------
    motions
        At least one; of several, `first_frame` says when each begins, and the first one's fps holds for all.

    Raises
    ------
    ValueError
        There are none.
    """
    if not motions:
        raise ValueError("a GIF of no motion")
    numbers, pause = _shown(motions)
    images = _images(motions, numbers)
    first = next(images).quantize(64, Image.Quantize.MAXCOVERAGE)
    others = [image.quantize(palette=first, dither=Image.Dither.NONE) for image in images]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=10 * pause, loop=0)


def _shown(motions: Sequence[Motion]) -> tuple[np.ndarray, int]:
    """Numbers of the frames to show, from the first of all, and how long each stays: hundredths of a second."""
    first = min(motion.first_frame for motion in motions)
    count = max(motion.first_frame + motion.frames for motion in motions) - first
    fps = motions[0].fps
    pause = max(SHORTEST, int(np.ceil(100 * count / fps / MOST_FRAMES)))
    shown = max(1, int(100 * count / fps / pause))
    return first + np.minimum(np.round(np.arange(shown) * pause / 100 * fps).astype(int), count - 1), pause


def _images(motions: Sequence[Motion], numbers: np.ndarray) -> Iterator[Image.Image]:
    figure = Figure(figsize=_INCHES, dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    joints = [motion.joints for motion in motions]
    if in_place := len(motions) == 1 and float(np.ptp(motions[0].root[:, :2], axis=0).max()) > _FARTHEST:
        joints[0] = joints[0] - motions[0].root[:, None] * [1, 1, 0]
    plane, space = _axes(figure, [motion.pose_2d[..., :2] for motion in motions], joints)
    for x, title in ((0.25, "keypoints, pixels"), (0.75, "lifted, metres" + (", in place" if in_place else ""))):
        figure.text(x, 0.93, title, ha="center")
    flat = [LineCollection(list(motion.pose_2d[0, _PAIRS, :2]), colors=_COLORS, linewidths=2) for motion in motions]
    solid = [Line3DCollection(world[0, _PAIRS], colors=_COLORS, linewidths=2) for world in joints]
    canvas.draw()
    empty = canvas.copy_from_bbox(figure.bbox)
    for lines, bones in zip(flat, solid, strict=True):
        plane.add_collection(lines, autolim=False)
        space.add_collection3d(bones, autolim=False)
    for number in numbers:
        canvas.restore_region(empty)
        for motion, world, lines, bones in zip(motions, joints, flat, solid, strict=True):
            index = number - motion.first_frame
            if 0 <= index < motion.frames:
                lines.set_segments(list(motion.pose_2d[index, _PAIRS, :2]))
                bones.set_segments(world[index, _PAIRS])
                bones.do_3d_projection()
                plane.draw_artist(lines)
                space.draw_artist(bones)
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _axes(figure: Figure, keypoints: Sequence[np.ndarray], joints: Sequence[np.ndarray]) -> tuple[Axes, Axes3D]:
    """Axes as large as what goes on in them: pixels, y down; and metres, z up, seen from the camera's side."""
    plane = figure.add_axes((0.08, 0.09, 0.38, 0.8))
    (left, right), (top, bottom) = _bounds(keypoints)
    plane.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    space = figure.add_axes((0.5, 0.02, 0.47, 0.88), projection="3d")
    assert isinstance(space, Axes3D)
    x, y, z = _bounds(joints)
    space.set(xlim=x, ylim=y, zlim=z, xlabel="x", ylabel="y", zlabel="z")
    space.set_box_aspect([high - low for low, high in (x, y, z)], zoom=0.9)
    space.view_init(elev=12, azim=-70)  # x to the right, y away
    for axis in (space.xaxis, space.yaxis, space.zaxis):
        axis.set_pane_color("white")
        low, high = axis.get_view_interval()
        axis.get_major_locator().set_params(nbins=max(1, min(5, int(3 * (high - low)))))  # short sides have few numbers
    return plane, space


def _bounds(poses: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """Of points (..., axes), NaN left out: low and high of each axis, and a margin."""
    points = np.concatenate([pose.reshape(-1, pose.shape[-1]) for pose in poses])
    known = points[np.isfinite(points).all(axis=1)]
    known = known if len(known) else np.zeros((1, points.shape[1]))
    low, high = known.min(axis=0), known.max(axis=0)
    margin = 0.05 * max(float((high - low).max()), 1e-3)
    return list(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))
