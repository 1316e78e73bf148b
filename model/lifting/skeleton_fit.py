"""The body behind a track of poses: how long its bones are, and how large it is in metres.

Notable decisions:
- a bone is as long as the median of its lengths over the track, weighted by how well its ends were seen, and as long as
  its other side's, each counting by how well it was seen;
- a bone that was not seen has an adult's length beside those that were. What the network makes of it says nothing of
  the body, and a stature would be shared out over it: of people whose legs are outside the image the distance came
  out half as far again;
- stature is `STATURE` times what a body stretches to from ankle to head, which both change together. The factor holds
  the ankle above the floor and the crown above H36M's head; measured on 20 people of CMU: head above ankle, standing,
  1.59 m at the median and 0.98 of the chain's length, the ankle 0.067 m above the floor.
"""

from collections.abc import Mapping

import numpy as np

from data_contracts.skeleton import BONES, JOINTS, MIRROR, NUM_JOINTS

# Metres, by the joint that a bone leads to: medians of 20 people of CMU.
ADULT_BONES_M = np.array(
    [0.09, 0.40, 0.44, 0.09, 0.40, 0.44, 0.275, 0.27, 0.13, 0.158, 0.185, 0.29, 0.19, 0.185, 0.29, 0.19]
)
STATURE = 1.035  # stature over the chain from ankle to head
_SEEN = 0.05  # of the weight of a bone that is surely seen in every frame: with less it is not measured
_POINT = 1e-9  # a body that is a point has no size to be scaled by
_STRAIGHT_NECK = 0.86  # thorax to head over the bones by way of the nose, in the median
ANKLE_SHARE = 0.039  # of the stature: an ankle above the floor, standing
_TRUNK_AND_LEG, _NECK = [1, 2, 6, 7], [8, 9]
_PARENTS, _CHILDREN = np.array(BONES).T
_SIDES = np.array([MIRROR[child] - 1 for child in _CHILDREN])


def bone_vectors(poses: np.ndarray) -> np.ndarray:
    """(..., 16, 3) from each parent to its child, of poses (..., 17, 3)."""
    return np.asarray(poses[..., _CHILDREN, :] - poses[..., _PARENTS, :])


def bone_lengths(poses: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Lengths (16,) of the bones over a track, left as right.

    Parameters
    ----------
    poses
        (frames, 17, 3), any unit.
    confidence
        (frames, 17).
    """
    lengths = np.linalg.norm(bone_vectors(poses), axis=-1)
    weights = _bone_weights(confidence) + 1e-3
    medians, seen = _weighted_medians(lengths, weights), weights.mean(axis=0)
    medians = (medians * seen + medians[_SIDES] * seen[_SIDES]) / (seen + seen[_SIDES])  # left as right
    measured = are_measured(confidence)
    if not measured.any():
        return np.asarray(medians)
    larger = np.median(medians[measured] / ADULT_BONES_M[measured])
    return np.where(measured, medians, larger * ADULT_BONES_M)


def are_measured(confidence: np.ndarray) -> np.ndarray:
    """(16,) bool: which bones were seen for long enough, on one side or the other, of confidence (frames, 17)."""
    seen = _bone_weights(confidence).mean(axis=0)
    return np.asarray(np.maximum(seen, seen[_SIDES]) > _SEEN)


def _bone_weights(confidence: np.ndarray) -> np.ndarray:
    """(frames, 16): how well a bone was seen, which is how well the worse of its ends was."""
    return np.minimum(confidence[:, _PARENTS], confidence[:, _CHILDREN])


def _weighted_medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) of each column of (frames, n)."""
    order = np.argsort(values, axis=0)
    share = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    at = (share < share[-1] / 2).sum(axis=0)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, at[None], axis=0), axis=0)[0])


def with_lengths(poses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Poses (frames, 17, 3) whose bones keep their directions and have these lengths (16,); the pelvis is at 0."""
    vectors = bone_vectors(poses)
    scaled = vectors * (lengths / np.maximum(np.linalg.norm(vectors, axis=-1), 1e-9))[..., None]
    out = np.zeros((len(poses), NUM_JOINTS, 3))
    for bone, (parent, child) in enumerate(BONES):  # a parent stands before its children
        out[:, child] = out[:, parent] + scaled[:, bone]
    return out


def stretched(lengths: np.ndarray) -> float:
    """From ankle to head of a stretched body with these bones (16,)."""
    return float(lengths[_TRUNK_AND_LEG].sum() + _STRAIGHT_NECK * lengths[_NECK].sum())


def is_wholly_measured(confidence: np.ndarray) -> bool:
    """All bones that make a stature were seen, of confidence (frames, 17)."""
    return bool(are_measured(confidence)[[*_TRUNK_AND_LEG, *_NECK]].all())


def stature_of(lengths: np.ndarray) -> float:
    """Of a body with bones (16,), in their unit."""
    return STATURE * stretched(lengths)


def metres_per_unit(lengths: np.ndarray, height: float, bones: Mapping[str, float]) -> float:
    """What makes metres of bones (16,) of a track.

    Parameters
    ----------
    height
        Stature, metres.
    bones
        Lengths that were measured, metres, by the joint that a bone leads to; they go before it.
    """
    if bones:
        index = [JOINTS.index(name) - 1 for name in bones]
        return float(np.median(np.array(list(bones.values())) / np.maximum(lengths[index], _POINT)))
    return height / max(stature_of(lengths), _POINT)
