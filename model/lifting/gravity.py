"""From the camera to the world: z up, and the floor at 0.

Notable decisions:
- the camera does not roll. How far it looks down is told by bodies: in frames in which somebody is stretched from
  ankles to head, standing or walking, that line is upright on average;
- the floor is where ankles are at their lowest, less what an ankle stands above it.
"""

from dataclasses import dataclass

import numpy as np

from data_contracts.skeleton import JOINTS

_ANKLES = [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")]
_HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
_HEAD = JOINTS.index("head")
_STRETCHED = 0.92  # of the longest seen, to count as standing
_STEEPEST_DEG = 60.0  # a body that leans more towards the camera or away lies or floats
_ASIDE = 0.5  # and so does one that leans 30 degrees to a side
_LEAN_DEG = 3.0  # of people who walk: what remains however many frames are seen
_FRAME_DEG = 9.0  # error of tracks of a frame, root mean square of 152 (synthetic, 8 people, preset demo)
_TOGETHER = 30  # frames that tell as much as one that stands alone
_UNKNOWN_DEG = 10.0
_LOWEST_SHARE = 0.02  # of what ankles were seen at


@dataclass(frozen=True)
class Pitch:
    """How far the camera looks down, its standard deviation, degrees, and how it was found."""

    degrees: float
    std: float
    found: str


def find_pitch(poses: list[np.ndarray], confidences: list[np.ndarray], stretches: list[float]) -> Pitch:
    """By the bodies of all people of a video.

    Parameters
    ----------
    poses, confidences
        Of each person (frames, 17, 3) in camera axes and (frames, 17).
    stretches
        How long each one is from ankle to head.
    """
    angles = []
    for pose, confidence, stretch in zip(poses, confidences, stretches, strict=True):
        line = pose[:, _HEAD] - pose[:, _ANKLES].mean(axis=1)
        seen = (confidence[:, [*_ANKLES, *_HIPS, _HEAD]] > 0).all(axis=1)
        length = np.linalg.norm(line, axis=-1)
        standing = seen & (length > _STRETCHED * stretch) & (np.abs(line[:, 0]) < _ASIDE * length)
        angle = np.rad2deg(np.arctan2(-line[:, 2], -line[:, 1]))
        angles.append(angle[standing & (np.abs(angle) < _STEEPEST_DEG)])
    angle = np.concatenate(angles)
    if not len(angle):
        return Pitch(0.0, _UNKNOWN_DEG, "assumed")
    found, many = 1.4826 * float(np.median(np.abs(angle - np.median(angle)))), len(angle)
    spread = np.sqrt((_TOGETHER * _FRAME_DEG**2 + many * found**2) / (_TOGETHER + many))  # few frames tell none
    return Pitch(float(np.median(angle)), float(np.hypot(_LEAN_DEG, spread / np.sqrt(1 + many / _TOGETHER))), "bodies")


def to_world(vectors: np.ndarray, pitch_deg: float) -> np.ndarray:
    """Vectors (..., 3) in axes of a camera so pitched (x right, y down, z forward) as x right, y away, z up."""
    cos, sin = np.cos(np.deg2rad(pitch_deg)), np.sin(np.deg2rad(pitch_deg))
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([x, z * cos - y * sin, -y * cos - z * sin], axis=-1)


def floor_height(pose: np.ndarray, root: np.ndarray, confidence: np.ndarray, ankle_m: float) -> float:
    """Height of the floor in the world of `to_world`, where an ankle stands `ankle_m` above it.

    Ankles that were seen count, or all where none was.
    """
    ankles = pose[:, _ANKLES, 2] + root[:, None, 2]
    seen = confidence[:, _ANKLES] > 0
    return float(np.quantile(ankles[seen] if seen.any() else ankles, _LOWEST_SHARE)) - ankle_m
