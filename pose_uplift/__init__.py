"""Lift 2D keypoints to 3D motion in Python.

    import pose_uplift

    motion = pose_uplift.lift(keypoints, fps=30, skeleton="coco17", height=1.75)
    motion.save("walk.bvh")
    motion.plot()

`lift` takes the keypoints of one person as an array, `lift_file` all people of a keypoint file. Both log assumptions as
warnings of the logger `uplift`. To set an option lift.NAME or keypoints.NAME that a warning names, pass the argument
NAME; instead of keypoints.width and keypoints.height pass `size`. The argument `height` is the height of the person.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_contracts.errors import InputError
from data_contracts.motion import motion as contract
from data_contracts.parameters import KeypointFormat, KeypointsParameters, LiftParameters
from data_contracts.parameters.presets import parse
from data_contracts.skeleton import BONES
from data_contracts.sources import find_keypoints
from data_contracts.store.folders import CHECKPOINT_FILE, SHIPPED, SHIPPED_RUN
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.lifter import Lifter
from model.lifting.lifter import load_lifter as load_checkpoint
from tasks.lifting.assumptions import assumptions_of
from tasks.lifting.exports.writing import write_file
from tasks.lifting.formats.detections import Detections, normalise
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.lift import refuse_faults
from tasks.lifting.tracks import long_and_short, whole_track
from tasks.stage_runs.prefect_runs import run_logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["InputError", "Lifter", "Motion", "lift", "lift_file", "load_lifter"]

_DRAWN = 8  # poses in a plot
_OF_KEYPOINTS = ("max_gap", "min_confidence", "min_frames")


class Motion(contract.Motion):
    """3D motion of one person; see `data_contracts.motion.motion.Motion` for the arrays."""

    def save(self, path: str | Path) -> Path:
        """Write the motion to a file, whose extension is the format: npz, json, csv, trc, c3d, bvh, glb or gif.

        Raises
        ------
        InputError
            The format is unknown, a package for it is missing, or the folder does not exist.
        """
        return write_file(self, Path(path))

    def plot(self) -> "Figure":
        """Return a figure of eight evenly spaced poses (right limbs red, left blue) and the pelvis path, in metres."""
        from matplotlib import pyplot

        from tasks.lifting.exports.gif_file import BONE_COLORS  # imports matplotlib, which takes a second

        figure = pyplot.figure(figsize=(8, 6))
        axes: Any = figure.add_subplot(projection="3d")
        joints = self.joints
        axes.plot(*self.root.T, color="0.7")
        for pose in joints[np.linspace(0, len(joints) - 1, _DRAWN).astype(int)]:
            for bone, color in zip(BONES, BONE_COLORS, strict=True):
                axes.plot(*pose[list(bone)].T, color=color)
        axes.set(xlabel="x, m", ylabel="y, m", zlabel="z, m")
        axes.set_aspect("equal")
        return figure


def load_lifter(model: str | Path = SHIPPED, flip: bool = True) -> Lifter:
    """Load a lifter: `shipped` (the lifter of this package), a checkpoint file, or the folder of a training run.

    With `flip`, the lifter averages the predictions for the input and the mirrored input: more accurate, at twice the
    cost. Errors: see `model.lifting.lifter.load_lifter`.
    """
    path = SHIPPED_RUN if model == SHIPPED else Path(model)
    return load_checkpoint(path / CHECKPOINT_FILE if path.is_dir() else path, flip)


def lift(
    keypoints: np.ndarray,
    *,
    fps: float | None = None,
    skeleton: str | None = None,
    size: tuple[int, int] | None = None,
    lifter: Lifter | None = None,
    **options: Any,
) -> Motion:
    """Lift the keypoints of one person to motion in metres.

    Parameters
    ----------
    keypoints
        (frames, K, 2 or 3): x right, y down in pixels, and confidence in [0, 1]. A keypoint is missing if it is NaN or
        at 0, 0, or has confidence 0.
    fps
        Frames per second. Default: 30.
    skeleton
        Skeleton of the keypoints, e.g. coco17, body25 or mediapipe33. Default: detected from the keypoints.
    size
        Width and height of the image in pixels. Default: a common size that holds all keypoints.
    lifter
        Result of `load_lifter`. Default: the lifter of this package.
    options
        Fields of `data_contracts.parameters.LiftParameters`, e.g. height (of the person, metres) or pitch_deg, and
        max_gap, min_confidence and min_frames of `KeypointsParameters`.

    Raises
    ------
    InputError
        The keypoints have another shape or impossible values, the skeleton is ambiguous, or an option is out of bounds.
    """
    array = np.asarray(keypoints, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] not in (2, 3) or not len(array):
        raise InputError(f"keypoints have shape {array.shape}; expected (frames, K, 2 or 3) of one person")
    confidence = array[..., 2] if array.shape[2] == 3 else np.ones(array.shape[:2])
    frame = np.arange(len(array))
    read = Detections("keypoints", KeypointFormat.ARRAYS, frame, array[..., :2], confidence)
    parameters = _keypoint_parameters(fps, skeleton, size, options)
    detections, warnings = normalise(read, parameters)
    (motion,) = _lifted([whole_track(detections, parameters.max_gap)], [detections], warnings, lifter, options)
    return motion


def lift_file(
    path: str | Path,
    *,
    fps: float | None = None,
    skeleton: str | None = None,
    size: tuple[int, int] | None = None,
    lifter: Lifter | None = None,
    **options: Any,
) -> list[Motion]:
    """Return the motion of each person in a keypoint file of any detector; options and errors are those of `lift`.

    `path` and the formats are those of `uplift lift`. Tracks shorter than `min_frames` are left out.
    """
    parameters = _keypoint_parameters(fps, skeleton, size, options)
    videos, warnings = read_keypoints(find_keypoints(path), parameters)
    return _lifted(long_and_short(path, videos, parameters)[0], videos, warnings, lifter, options)


def _keypoint_parameters(
    fps: float | None, skeleton: str | None, size: tuple[int, int] | None, options: dict[str, Any]
) -> KeypointsParameters:
    """Return the parameters of keypoints, and remove the options `_OF_KEYPOINTS` from `options`."""
    width, height = size or (None, None)
    values = {"fps": fps, "skeleton": skeleton, "width": width, "height": height}
    return parse(KeypointsParameters, values | {n: options.pop(n) for n in _OF_KEYPOINTS if n in options}, "lift")


def _lifted(
    tracks: list[Track], videos: list[Detections], warnings: Iterable[str], lifter: Lifter | None, options: Any
) -> list[Motion]:
    parameters = parse(LiftParameters, options, "lift")
    motions = lift_people(lifter or load_lifter(), tracks, parameters)
    refuse_faults(motions, videos[0].source)
    about = {"skeleton": str(videos[0].skeleton), "skeleton_from": videos[0].skeleton_from}
    for line in [*warnings, *assumptions_of(about, motions, parameters)]:
        run_logger().warning(line)
    return [Motion(**vars(motion)) for motion in motions]
