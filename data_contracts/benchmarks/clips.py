"""Clips of an imported benchmark: one person in one camera, with 2D keypoints and 3D truth in each frame.

The folder of an import has one `.npz` per clip, with the arrays of a `BenchmarkClip`; its manifest lists the clips.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.skeleton import ADULT_BONES_M, BONES, NUM_JOINTS

MOST_FRAMES = 1_000_000  # in one clip
_ARRAYS = ("keypoints", "truth", "scored")
_NEAREST_M, _FARTHEST_M = 0.2, 200.0  # distances of a joint from the camera
_BODY_SIZES = (0.3, 2.0)  # bounds of (sum of the bone lengths) / (sum of an adult's bone lengths)
_APART = 0.2  # largest median distance of keypoints from the projected truth, in metres for a body of adult size
_PARENTS, _CHILDREN = np.array(BONES).T


@dataclass(frozen=True)
class BenchmarkClip:
    """A clip of a benchmark.

    Attributes
    ----------
    name, subject, group
        Names of the clip, of the person, and of the action or sequence; the score table has one row per `group`.
    keypoints
        (frames, 17, 3): x / z and y / z of the camera ray through the 2D keypoint, and confidence, 0 if missing.
    truth
        (frames, 17, 3): metres, camera axes (x right, y down, z forward).
    scored
        (frames,) bool: frames that the protocol scores. The truth of other frames is not used.
    """

    name: str
    subject: str
    group: str
    fps: float
    keypoints: np.ndarray
    truth: np.ndarray
    scored: np.ndarray

    @property
    def detected(self) -> np.ndarray:
        """(frames,) bool: frames with at least one keypoint."""
        return np.asarray((self.keypoints[..., 2] > 0).any(axis=1))


def check_clip(clip: BenchmarkClip) -> None:
    """Raise an InputError if an array has a wrong shape or NaN, or if the truth is not a body at the keypoints."""
    frames = len(clip.scored)
    for name, expected in {
        "keypoints": (frames, NUM_JOINTS, 3),
        "truth": (frames, NUM_JOINTS, 3),
        "scored": (frames,),
    }.items():
        if (found := getattr(clip, name).shape) != expected:
            raise InputError(f"{clip.name}: {name} has shape {found}, expected {expected}")
    if not 0 < frames <= MOST_FRAMES:
        raise InputError(f"{clip.name}: {frames} frames; expected 1 to {MOST_FRAMES:,}")
    truth, keypoints = clip.truth[clip.scored], clip.keypoints[clip.scored]
    if not np.isfinite(truth).all() or not np.isfinite(clip.keypoints).all():
        raise InputError(f"{clip.name}: NaN or infinity in the keypoints, or in the 3D truth of scored frames")
    if not len(truth):
        return
    if not ((truth[..., 2] > _NEAREST_M) & (truth[..., 2] < _FARTHEST_M)).all():
        raise InputError(
            f"{clip.name}: joints are {truth[..., 2].min():.3g} to {truth[..., 2].max():.3g} m in front of the camera;"
            f" expected {_NEAREST_M:g} to {_FARTHEST_M:g} m, so unit, axes or camera differ from those of the benchmark"
        )
    bones = np.linalg.norm(truth[:, _CHILDREN] - truth[:, _PARENTS], axis=-1).sum(axis=1)
    size = float(np.median(bones)) / sum(ADULT_BONES_M)
    if not _BODY_SIZES[0] < size < _BODY_SIZES[1]:
        raise InputError(f"{clip.name}: the body has {size:.3g} times the size of an adult; its unit must be metres")
    seen = keypoints[..., 2] > 0
    if not seen.any():
        raise InputError(f"{clip.name}: no 2D keypoint in the scored frames")
    apart = (
        np.linalg.norm(keypoints[..., :2] - truth[..., :2] / truth[..., 2:], axis=-1) * truth[..., 2] / bones[:, None]
    )
    if (distance := float(np.median(apart[seen])) * sum(ADULT_BONES_M)) > _APART:
        raise InputError(
            f"{clip.name}: the 2D keypoints are {distance:.2g} m (median for an adult) from the projected truth;"
            f" expected at most {_APART:g} m. Keypoints and truth are of different frames, people, joints or cameras"
        )


def write_clip(clip: BenchmarkClip, path: Path) -> None:
    """Write the arrays of a clip to an .npz file."""
    arrays = {name: getattr(clip, name) for name in _ARRAYS}
    np.savez(path, **{name: array if array.dtype == bool else array.astype("<f4") for name, array in arrays.items()})


def read_clip(path: Path, name: str, subject: str, group: str, fps: float) -> BenchmarkClip:
    """Return a clip: its arrays from a file of `write_clip`, and the other fields, which the manifest contains."""
    with np.load(path, allow_pickle=False) as file:
        return BenchmarkClip(name, subject, group, fps, *(file[array] for array in _ARRAYS))


def clip_file(number: int) -> str:
    """Return the file name of a clip by its number in the manifest."""
    return f"clip-{number:04d}.npz"
