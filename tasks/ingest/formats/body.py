"""Derive the 17 joints of the skeleton from the joints of other skeletons.

- The pelvis is the midpoint of the hips, the thorax is the neck joint (the base of the neck).
- Nose and head (the crown) follow the head bone. Relative to the base of the neck, the nose is 0.12 leg lengths ahead
  and 0.12 up, the crown 0.035 ahead and 0.285 up. A leg length is thigh plus shank. The values are medians of 33
  subjects of CMU and UI-PRMD, who differ by about 0.03.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from data_contracts.skeleton import JOINTS

Points = Mapping[str, np.ndarray]  # (frames, 3) positions by joint name
Axes = tuple[np.ndarray, np.ndarray]  # up and forward, unit vectors (frames, 3) or (3,)

NOSE, CROWN = (0.12, 0.12), (0.035, 0.285)  # ahead and up of the base of the neck, in leg lengths


def to_h36m(points: Points, head_axes: Axes | None = None) -> np.ndarray:
    """Return joints (frames, 17, 3), in the unit and axes of `points`.

    Parameters
    ----------
    points
        Limb joints, neck and head. If `nose` is among them, `head` is the crown, otherwise the joint at the base of
        the skull. A `spine` is optional; by default it is halfway between pelvis and neck.
    head_axes
        Directions up and forward of the head. Default: up is from neck to head; forward is perpendicular to up and to
        the line between the shoulders.
    """
    own = dict(points)
    own.setdefault("pelvis", (own["left_hip"] + own["right_hip"]) / 2)
    if "neck" in own:
        own["thorax"] = own["neck"]
    own.setdefault("spine", (own["pelvis"] + own["thorax"]) / 2)
    if "nose" not in own:
        skull, neck = own["head"], own["thorax"]
        up, forward = head_axes or tilted(unit(skull - neck), across(points), 0.0)
        base = skull - np.linalg.norm(skull - neck, axis=-1, keepdims=True) * up  # with the neck straightened
        for joint, (ahead, above) in (("nose", NOSE), ("head", CROWN)):
            own[joint] = base + leg_length(points) * (ahead * forward + above * up)
    return np.stack([own[joint] for joint in JOINTS], axis=1)


def trunk_axes(points: Points) -> Axes:
    """Return the directions up and forward of the trunk."""
    return tilted(unit(points["neck"] - (points["left_hip"] + points["right_hip"]) / 2), across(points), 0.0)


def axes_in_bone(axes: Axes, turns: np.ndarray) -> Axes:
    """Return the directions up and forward (3,) in a bone's axes, as means over its rotations (frames, 3, 3)."""
    up, forward = (rotate(turns.swapaxes(1, 2), axis).mean(axis=0) for axis in axes)
    up = unit(up)
    return up, unit(forward - (forward @ up) * up)


def rotate(turns: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the vectors (frames, 3) or (3,), rotated by the matrix of each frame (frames, 3, 3)."""
    return np.einsum("tij,tj->ti", turns, vectors)


def tilted(direction: np.ndarray, right: np.ndarray, degrees: float) -> Axes:
    """Return up and forward of a head; `direction` (unit vectors) of its neck bone is `degrees` ahead of up."""
    forward = unit(np.cross(direction, right))
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return cos * direction - sin * forward, sin * direction + cos * forward


def across(points: Points) -> np.ndarray:
    """Return vectors (frames, 3) from the left to the right shoulder."""
    return points["right_shoulder"] - points["left_shoulder"]


def leg_length(points: Points) -> float:
    """Return the length of thigh plus shank: the mean of both legs, then the median over the frames."""
    bones = [(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("left", "right")]
    parts = [points[b] - points[a] for leg in bones for a, b in pairwise(leg)]
    return float(np.median(np.linalg.norm(parts, axis=-1).sum(axis=0))) / 2


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) of length 1; a vector without length stays near 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
