"""Write GIF files: the keypoints next to the lifted motion, for a chat, a slide or a README.

- There is one frame per 0.09 s and at most 240 frames, at the speed of the motion. Motions longer than 21.6 s have
  fewer frames per second.
- The axes are drawn once, and each frame draws the bones onto a copy, which is five times as fast as `PillowWriter`.
- A single person who moves farther than 4 m would be too small, and is drawn in place.
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
SHORTEST = 9  # shortest time between two frames, hundredths of a second
_FARTHEST = 4.0  # metres
_INCHES, _DPI = (8.0, 4.0), 80
_RIGHT, _LEFT, _MIDDLE = "tab:red", "tab:blue", "0.45"
_PAIRS = np.array(BONES)
BONE_COLORS = [_RIGHT if end in RIGHT_JOINTS else _LEFT if end in LEFT_JOINTS else _MIDDLE for _, end in BONES]


def write_gif(motions: Sequence[Motion], path: Path) -> None:
    """Draw the keypoints (pixels) next to the joints in world coordinates, with all people of a video in one GIF.

    Each motion begins at its `first_frame`; the first motion gives the frame rate of all.
    """
    numbers, pause = _frame_numbers(motions)
    images = _images(motions, numbers)
    first = next(images).quantize(64, Image.Quantize.MAXCOVERAGE)
    others = [image.quantize(palette=first, dither=Image.Dither.NONE) for image in images]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=10 * pause, loop=0)


def _frame_numbers(motions: Sequence[Motion]) -> tuple[np.ndarray, int]:
    """Return the numbers of the video frames to draw, and the time between them in hundredths of a second."""
    first = min(motion.first_frame for motion in motions)
    count = max(motion.first_frame + motion.frames for motion in motions) - first
    fps = motions[0].fps
    pause = max(SHORTEST, int(np.ceil(100 * count / fps / MOST_FRAMES)))
    drawn = max(1, int(100 * count / fps / pause))
    return first + np.minimum(np.round(np.arange(drawn) * pause / 100 * fps).astype(int), count - 1), pause


def _images(motions: Sequence[Motion], numbers: np.ndarray) -> Iterator[Image.Image]:
    figure = Figure(figsize=_INCHES, dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    joints = [motion.joints for motion in motions]
    if in_place := len(motions) == 1 and float(np.ptp(motions[0].root[:, :2], axis=0).max()) > _FARTHEST:
        joints[0] = joints[0] - motions[0].root[:, None] * [1, 1, 0]
    plane, space = _axes(figure, [motion.pose_2d[..., :2] for motion in motions], joints)
    for x, title in ((0.25, "keypoints, pixels"), (0.75, "lifted, metres" + (", in place" if in_place else ""))):
        figure.text(x, 0.93, title, ha="center")
    flat = [LineCollection(list(motion.pose_2d[0, _PAIRS, :2]), colors=BONE_COLORS, linewidths=2) for motion in motions]
    solid = [Line3DCollection(world[0, _PAIRS], colors=BONE_COLORS, linewidths=2) for world in joints]
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
    """Return axes that contain all frames: pixels with y down, and metres with z up, viewed from the camera's side."""
    plane = figure.add_axes((0.08, 0.09, 0.38, 0.8))
    (left, right), (top, bottom) = _bounds(keypoints)
    plane.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    space = figure.add_axes((0.5, 0.06, 0.47, 0.84), projection="3d")
    assert isinstance(space, Axes3D)
    x, y, z = _bounds(joints)
    space.set(xlim=x, ylim=y, zlim=z, xlabel="x", ylabel="y", zlabel="z")
    space.set_box_aspect([high - low for low, high in (x, y, z)], zoom=0.84)
    space.view_init(elev=12, azim=-70)  # x to the right, y away
    for axis in (space.xaxis, space.yaxis, space.zaxis):
        axis.set_pane_color("white")
        low, high = axis.get_view_interval()
        axis.get_major_locator().set_params(nbins=max(1, min(5, int(3 * (high - low)))))  # few ticks on short sides
    return plane, space


def _bounds(poses: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """Return the lowest and highest value per axis, with a margin, of points (..., axes); NaN is ignored."""
    points = np.concatenate([pose.reshape(-1, pose.shape[-1]) for pose in poses])
    known = points[np.isfinite(points).all(axis=1)]
    known = known if len(known) else np.zeros((1, points.shape[1]))
    low, high = known.min(axis=0), known.max(axis=0)
    margin = 0.05 * max(float((high - low).max()), 1e-3)
    return list(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))
