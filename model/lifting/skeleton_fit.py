"""Fit a body to a track of poses: bone lengths, and the scale in metres.

- The length of a bone is its median length over the track, weighted by the confidence of its ends.
- An undetected bone has the length of an adult's bone, in proportion to the detected bones. The network's output for
  an undetected bone contains no information about the body. With these outputs in the stature, people whose legs are
  outside the image were placed at 1.5 times their distance.
- Stature is `STATURE` times the length of the chain from ankle to head. The factor includes the height of the ankle and
  of the crown above H36M's head.
"""

from collections.abc import Mapping

import numpy as np

from data_contracts.skeleton import ADULT_BONES_M, BONES, JOINTS, MIRROR, NUM_JOINTS

STATURE = 1.035  # stature / length of the chain from ankle to head
_SEEN = 0.05  # smallest mean confidence of a measured bone
_POINT = 1e-9  # smallest size of a body: a point cannot be scaled
_STRAIGHT_NECK = 0.86  # median of the distance thorax to head / length of the two bones through the nose
ANKLE_SHARE = 0.039  # height of the ankle above the floor / stature, standing
_ADULT = np.array(ADULT_BONES_M)
_TRUNK_AND_LEG, _NECK = [1, 2, 6, 7], [8, 9]
_PARENTS, _CHILDREN = np.array(BONES).T
_SIDES = np.array([MIRROR[child] - 1 for child in _CHILDREN])


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
    medians = (medians * seen + medians[_SIDES] * seen[_SIDES]) / (seen + seen[_SIDES])
    measured = are_measured(confidence)
    if not measured.any():
        return np.asarray(medians)
    scale = np.median(medians[measured] / _ADULT[measured])
    return np.where(measured, medians, scale * _ADULT)


def are_measured(confidence: np.ndarray) -> np.ndarray:
    """Return (16,) bool: whether each bone, or its mirror bone, has enough `confidence` (frames, 17) over the track."""
    seen = _bone_weights(confidence).mean(axis=0)
    return np.asarray(np.maximum(seen, seen[_SIDES]) > _SEEN)


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
    vectors = bone_vectors(poses)
    scaled = vectors * (lengths / np.maximum(np.linalg.norm(vectors, axis=-1), 1e-9))[..., None]
    out = np.zeros((len(poses), NUM_JOINTS, 3))
    for bone, (parent, child) in enumerate(BONES):  # parents come before their children
        out[:, child] = out[:, parent] + scaled[:, bone]
    return out


def stretched(lengths: np.ndarray) -> float:
    """Return the distance from ankle to head of an upright body with bones of `lengths` (16,)."""
    return float(lengths[_TRUNK_AND_LEG].sum() + _STRAIGHT_NECK * lengths[_NECK].sum())


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
