"""Fit a body to a track of poses: bone lengths, and the scale in metres.

- The length of a bone is its median length over the track, weighted by the confidence of its ends.
- An undetected bone has the length of an adult's bone, in proportion to the detected bones. The network's output for
  such a bone contains no information about the body: with this output, people whose legs are outside the image were
  placed at 1.5 times their true distance.
- Stature is `STATURE` times the length of the chain from ankle to head. The factor includes the height of the ankle and
  of the crown above H36M's head.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_contracts.skeleton import ADULT_BONES_M, BONES, JOINTS, MIRROR, NUM_JOINTS

STATURE = 1.035  # stature / length of the chain from ankle to head
_SEEN = 0.05  # smallest mean confidence of a measured bone
_POINT = 1e-9  # smallest size of a body: a point cannot be scaled
_STRAIGHT_NECK = 0.86  # distance from thorax to head / length of the two bones through the nose, median
ANKLE_SHARE = 0.039  # height of the ankle above the floor / stature, standing
_ADULT = np.array(ADULT_BONES_M)
_TRUNK_AND_LEG, _NECK = [1, 2, 6, 7], [8, 9]
_LIMBS = [1, 2, 4, 5, 11, 12, 14, 15]  # bones that hang down if undetected
_DOWN = np.array([0.0, 1.0, 0.0])
RARELY_SEEN = 0.1  # share of the frames below which a joint or bone counts as hardly ever seen
_HANGS_AFTER_S = 0.3
STRETCHED = np.zeros(len(BONES))  # lengths @ STRETCHED is the distance from ankle to head of an upright body
STRETCHED[_TRUNK_AND_LEG], STRETCHED[_NECK] = 1, _STRAIGHT_NECK
_PARENTS, _CHILDREN = np.array(BONES).T
SIDES = np.array([MIRROR[child] - 1 for child in _CHILDREN])


@dataclass(frozen=True)
class Body:
    """A lifted track of n frames in metres and camera axes (x right, y down, z forward).

    `rays` (n, 17, 2): x / z and y / z of the keypoints; `confidence` (n, 17): 0 if missing; `pose` (n, 17, 3): relative
    to the pelvis; `position` (n, 3): the pelvis; `lengths` (16,) of the bones.
    """

    rays: np.ndarray
    confidence: np.ndarray
    pose: np.ndarray
    position: np.ndarray
    lengths: np.ndarray


def bone_vectors(poses: np.ndarray) -> np.ndarray:
    """Return the vectors (..., 16, 3) from each parent to its child in poses (..., 17, 3)."""
    return np.asarray(poses[..., _CHILDREN, :] - poses[..., _PARENTS, :])


def bone_lengths(poses: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the lengths (16,) of the bones over a track, equal for left and right.

    `poses` (frames, 17, 3), any unit; `confidence` (frames, 17) in [0, 1].
    """
    lengths = np.linalg.norm(bone_vectors(poses), axis=-1)
    weights = _bone_weights(confidence) + 1e-3
    medians, seen = _weighted_medians(lengths, weights), weights.mean(axis=0)
    medians = (medians * seen + medians[SIDES] * seen[SIDES]) / (seen + seen[SIDES])
    measured = are_measured(confidence)
    if not measured.any():
        return np.asarray(medians)
    scale = np.median(medians[measured] / _ADULT[measured])
    return np.where(measured, medians, scale * _ADULT)


def adult_bones(lengths: np.ndarray) -> np.ndarray:
    """Return the bone lengths (16,) of an adult as tall as a body with bones of `lengths` (16,)."""
    return np.asarray(_ADULT * (stretched(lengths) / stretched(_ADULT)))


def are_measured(confidence: np.ndarray) -> np.ndarray:
    """Return (16,) bool: whether each bone, or its mirror bone, has enough `confidence` (frames, 17) over the track."""
    seen = _bone_weights(confidence).mean(axis=0)
    return np.asarray(np.maximum(seen, seen[SIDES]) > _SEEN)


def _bone_weights(confidence: np.ndarray) -> np.ndarray:
    """Return (frames, 16): the lower confidence of the two ends of each bone."""
    return np.minimum(confidence[:, _PARENTS], confidence[:, _CHILDREN])


def _weighted_medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted median (n,) of each column of (frames, n)."""
    order = np.argsort(values, axis=0)
    share = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    at = (share < share[-1] / 2).sum(axis=0)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, at[None], axis=0), axis=0)[0])


def with_lengths(poses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return `poses` (frames, 17, 3) with bones of `lengths` (16,) in the same directions; the pelvis is at 0."""
    return _joined(bone_vectors(poses), lengths)


def _joined(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return poses (frames, 17, 3) with bones of `lengths` (16,) in the directions of `vectors` (frames, 16, 3)."""
    scaled = vectors * (lengths / np.maximum(np.linalg.norm(vectors, axis=-1), 1e-9))[..., None]
    out = np.zeros((len(vectors), NUM_JOINTS, 3))
    for bone, (parent, child) in enumerate(BONES):  # parents come before their children
        out[:, child] = out[:, parent] + scaled[:, bone]
    return out


def with_unseen_bones(poses: np.ndarray, confidence: np.ndarray, lengths: np.ndarray, fps: float) -> np.ndarray:
    """Return `poses` (frames, 17, 3), camera axes, with `lengths` (16,) and new directions of undetected bones.

    The network has no information about a bone with an undetected end. Such a bone turns from its last detected
    direction to the next. A limb that is more than about `_HANGS_AFTER_S` away from any detection, or rarely
    detected, hangs down. Other rarely detected bones keep the network's direction.
    """
    vectors = bone_vectors(poses)
    directions = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    seen, frames = _bone_weights(confidence) > 0, np.arange(len(poses))
    for bone in np.flatnonzero(~seen.all(axis=0)):
        rare = seen[:, bone].mean() < RARELY_SEEN
        if bone not in _LIMBS and rare:
            continue
        at = np.array([]) if rare else np.flatnonzero(seen[:, bone])
        distance = np.full(len(poses), np.inf)
        between = np.zeros((len(poses), 3))
        if len(at):
            between = np.stack([np.interp(frames, at, directions[at, bone, axis]) for axis in range(3)], axis=1)
            after = np.minimum(np.searchsorted(at, frames), len(at) - 1)
            distance = np.minimum(abs(at[after] - frames), abs(frames - at[np.maximum(after - 1, 0)]))
        if bone in _LIMBS:
            share = np.exp(-np.square(distance / (_HANGS_AFTER_S * fps)))[:, None]
            between = share * between + (1 - share) * _DOWN
        missing = ~seen[:, bone]
        norm = np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)
        directions[missing, bone] = (between / norm)[missing]
    return _joined(directions, lengths)


def stretched(lengths: np.ndarray) -> float:
    """Return the distance from ankle to head of an upright body with bones of `lengths` (16,)."""
    return float(lengths @ STRETCHED)


def is_wholly_measured(confidence: np.ndarray) -> bool:
    """Return whether all bones between ankle and head were measured; `confidence` (frames, 17)."""
    return bool(are_measured(confidence)[[*_TRUNK_AND_LEG, *_NECK]].all())


def stature_of(lengths: np.ndarray) -> float:
    """Return the stature of a body with bones of `lengths` (16,), in the same unit."""
    return STATURE * stretched(lengths)


def metres_per_unit(lengths: np.ndarray, height: float, bones: Mapping[str, float]) -> float:
    """Return the factor that scales a body with bones of `lengths` (16,) to a stature of `height` metres.

    `bones` are measured lengths in metres by the joint at the far end of the bone; `bones` override `height`.
    """
    if bones:
        index = [JOINTS.index(name) - 1 for name in bones]
        return float(np.median(np.array(list(bones.values())) / np.maximum(lengths[index], _POINT)))
    return height / max(stature_of(lengths), _POINT)
