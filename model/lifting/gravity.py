"""Estimate camera pitch and floor height from bodies, and rotate camera axes to a world with z up.

In frames in which a person is stretched from ankles to head (standing or walking), the line
from ankles to head is vertical on average.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_contracts.skeleton import JOINTS

_ANKLES = [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")]
_HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
_HEAD = JOINTS.index("head")
_STRETCHED = 0.92  # smallest share of the body's full length that counts as standing
_STEEPEST_DEG = 60.0  # a body that leans more, towards or away from the camera, is not standing
_SIDEWAYS = 0.5  # nor is a body that leans 30 degrees sideways
_LEAN_DEG = 3.0  # lean of walking people: the error that remains with any number of frames
_FRAME_DEG = 9.0  # error of single-frame tracks, root mean square of 152 (synthetic, 8 people, preset demo)
_CORRELATED = 30  # consecutive frames with the information of one independent frame
_UNKNOWN_DEG = 10.0
_LOWEST_SHARE = 0.02  # quantile of the ankle heights


@dataclass(frozen=True)
class Pitch:
    """Downward pitch of the camera and its standard deviation, degrees; `source` is "bodies" or "assumed"."""

    degrees: float
    std: float
    source: str


def find_pitch(poses: list[np.ndarray], confidences: list[np.ndarray], stretches: list[float]) -> Pitch:
    """Return the pitch estimated from all people of a video; 0, with a large deviation, if no person ever stands.

    Each list has one element per person. `poses` (frames, 17, 3) are in camera axes, `confidences` (frames, 17);
    `stretches` are the lengths from ankle to head, in the unit of the poses.
    """
    angles = []
    for pose, confidence, stretch in zip(poses, confidences, stretches, strict=True):
        line = pose[:, _HEAD] - pose[:, _ANKLES].mean(axis=1)
        seen = (confidence[:, [*_ANKLES, *_HIPS, _HEAD]] > 0).all(axis=1)
        length = np.linalg.norm(line, axis=-1)
        standing = seen & (length > _STRETCHED * stretch) & (np.abs(line[:, 0]) < _SIDEWAYS * length)
        angle = np.rad2deg(np.arctan2(-line[:, 2], -line[:, 1]))
        angles.append(angle[standing & (np.abs(angle) < _STEEPEST_DEG)])
    angle = np.concatenate(angles)
    if not len(angle):
        return Pitch(0.0, _UNKNOWN_DEG, "assumed")
    measured, count = 1.4826 * float(np.median(np.abs(angle - np.median(angle)))), len(angle)
    # A few frames do not determine their own spread.
    spread = np.sqrt((_CORRELATED * _FRAME_DEG**2 + count * measured**2) / (_CORRELATED + count))
    std = float(np.hypot(_LEAN_DEG, spread / np.sqrt(1 + count / _CORRELATED)))
    return Pitch(float(np.median(angle)), std, "bodies")


def up_axis(pitch: Tensor, roll: Tensor) -> Tensor:
    """Return the vertical (3,) in the axes of a camera that looks down by `pitch` and rolls clockwise, radians."""
    return torch.stack([roll.sin() * pitch.cos(), -roll.cos() * pitch.cos(), -pitch.sin()])


def to_world(vectors: np.ndarray, pitch_deg: float, roll_deg: float = 0.0) -> np.ndarray:
    """Rotate vectors (..., 3) from camera axes (x right, y down, z forward) to world axes (x right, y away, z up).

    The camera looks down by `pitch_deg` and rolls clockwise by `roll_deg`.
    """
    pitch, roll = torch.tensor([pitch_deg, roll_deg], dtype=torch.float64).deg2rad()
    up = up_axis(pitch, roll).numpy()
    away = np.array([0, 0, 1]) - up[2] * up
    away /= np.linalg.norm(away)
    right, x, y, z = np.cross(away, up), *np.moveaxis(vectors, -1, 0)
    return np.stack([x * axis[0] + y * axis[1] + z * axis[2] for axis in (right, away, up)], axis=-1)


def turned_std(std: np.ndarray, pitch_deg: float) -> np.ndarray:
    """Convert standard deviations (..., 3) along camera axes, assumed independent, to world axes."""
    variance = np.where(np.isfinite(std), std, 0) ** 2
    cos, sin = np.cos(np.deg2rad(pitch_deg)) ** 2, np.sin(np.deg2rad(pitch_deg)) ** 2
    x, y, z = np.moveaxis(variance, -1, 0)
    turned = np.sqrt(np.stack([x, z * cos + y * sin, y * cos + z * sin], axis=-1))
    return np.where(np.isfinite(std), turned, np.inf)


def floor_height(pose: np.ndarray, root: np.ndarray, confidence: np.ndarray, ankle_m: float) -> float:
    """Return the height of the floor in the axes of `to_world`, metres; a standing ankle is `ankle_m` above the floor.

    Only detected ankles are used. If no ankle was detected, all ankles are used.
    """
    ankles = pose[:, _ANKLES, 2] + root[:, None, 2]
    seen = confidence[:, _ANKLES] > 0
    return float(np.quantile(ankles[seen] if seen.any() else ankles, _LOWEST_SHARE)) - ankle_m
