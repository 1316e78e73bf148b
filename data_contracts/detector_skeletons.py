"""Keypoint skeletons of 2D detectors, and the weights that convert their keypoints to the 17 H36M joints.

- A keypoint has one name in all skeletons, with `left_` and `right_` in pairs.
- A derived joint is a weighted sum of keypoints with weights that sum to 1; it is missing if a keypoint is missing.
- Pelvis: midpoint of the hips. Thorax: the neck, or the midpoint of the shoulders. Spine: halfway between both. Nose: a
  quarter of the way from the detector's nose tip to the shoulders (GAST-Net, tools/mpii_coco_h36m.py).
- Head: the top of the head, or from ears and shoulders. With the trunk length as 1, ears are 0.35 above the shoulders
  (805 people, AlphaPose) and H36M's head 0.55 (CMU), hence the factor 1.6.
- `PLACES` estimates keypoints from H36M joints. Heights above the shoulders, in trunk lengths: neck 0.14 and top of the
  head 0.59 (AlphaPose), or 0.07 and 0.61 (BODY_25B); CMU's thorax 0.08 and nose 0.27. The neck of COCO-18 and
  BODY_25 is the midpoint of the shoulders by OpenPose's definition.
- Compared with joint centres from markers (two phone videos of OpenCap), MediaPipe's hips are too far apart,
  its shoulders too close together, and its elbows too near to the shoulders. The derivations correct this.

Orders: COCO (cocodataset.org), OpenPose (doc/02_output.md and src/openpose/pose/poseParameters.cpp), Halpe-FullBody
(README), MediaPipe (pose landmarker).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np

from data_contracts.skeleton import JOINTS

Weights = Mapping[str, float]  # name of a keypoint or joint -> weight; the weights sum to 1


class Detector(StrEnum):
    """Names of the keypoint skeletons."""

    COCO17 = "coco17"
    COCO18 = "coco18"
    HALPE26 = "halpe26"
    HALPE136 = "halpe136"
    BODY25 = "body25"
    BODY25B = "body25b"
    MEDIAPIPE33 = "mediapipe33"
    H36M17 = "h36m17"


def _sum(*terms: tuple[float, Weights]) -> dict[str, float]:
    total: dict[str, float] = {}
    for factor, weights in terms:
        for name, weight in weights.items():
            total[name] = total.get(name, 0.0) + factor * weight
    return total


def _mid(part: str) -> dict[str, float]:
    return {f"left_{part}": 0.5, f"right_{part}": 0.5}


_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_OF_LIMBS = {f"{side}_{limb}": {f"{side}_{limb}": 1.0} for side in ("left", "right") for limb in _LIMBS}


def _derivations(thorax: Weights, head: Weights) -> dict[str, Weights]:
    """Return the weights of the keypoints for every H36M joint; `thorax` and `head` differ between detectors."""
    return {
        **_OF_LIMBS,
        "pelvis": _mid("hip"),
        "spine": _sum((0.5, _mid("hip")), (0.5, thorax)),
        "thorax": thorax,
        "nose": _sum((0.75, {"nose": 1}), (0.25, _mid("shoulder"))),
        "head": head,
    }


_NECK, _CROWN = {"neck": 1.0}, {"head": 1.0}
_ABOVE_EARS = _sum((1.6, _mid("ear")), (-0.6, _mid("shoulder")))
_EAR = {"nose": 0.1, "head": 0.6, "left_shoulder": 0.15, "right_shoulder": 0.15}
_ASIDE = {"left_shoulder": 0.2, "right_shoulder": -0.2}
# keypoint -> weights of the H36M joints that estimate it; `places` of a skeleton override these estimates
PLACES: Mapping[str, Weights] = {
    **_OF_LIMBS,
    "nose": _sum((4 / 3, {"nose": 1}), (-1 / 3, _mid("shoulder"))),
    "left_ear": _sum((1, _EAR), (1, _ASIDE)),
    "right_ear": _sum((1, _EAR), (-1, _ASIDE)),
    "head": _sum((1.1, {"head": 1}), (-0.1, _mid("shoulder"))),
    "neck": _mid("shoulder"),
}


@dataclass(frozen=True)
class DetectorSkeleton:
    """Keypoints of a detector, and the matrices that convert them to H36M joints."""

    keypoints: tuple[str, ...]  # in the order of the detector
    derivations: Mapping[str, Weights]  # of each H36M joint, over the keypoints
    places: Mapping[str, Weights] = field(default_factory=dict)  # overrides of `PLACES`

    @cached_property
    def weights(self) -> np.ndarray:
        """Matrix (17, K) float32 from keypoints to H36M joints; rows sum to 1."""
        return _matrix([self.derivations[joint] for joint in JOINTS], self.keypoints)

    @cached_property
    def derived(self) -> np.ndarray:
        """Matrix (17, 17) float32 from true H36M joints to those derived from the keypoints; rows sum to 1."""
        places = {**PLACES, **self.places}
        used = np.flatnonzero(self.weights.any(axis=0))
        return self.weights[:, used] @ _matrix([places[self.keypoints[index]] for index in used], JOINTS)

    def to_h36m(self, keypoints: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the H36M joints (..., 17, 2) derived from the keypoints of a detector, and their confidence (..., 17).

        Keypoints (..., K, 2) are in any unit. A missing keypoint is not finite, or its confidence (..., K) is 0 or NaN.
        A joint has the lowest confidence of its keypoints. If one keypoint is missing, the joint and confidence are 0.
        """
        detected = (confidence > 0) & np.isfinite(keypoints).all(axis=-1)
        confidence = np.where(detected, confidence, 0)
        least = np.stack([confidence[..., used].min(axis=-1) for used in self.weights != 0], axis=-1)
        joints = self.weights @ np.where(detected[..., None], keypoints, 0)
        return np.where(least[..., None] > 0, joints, 0), least


def _matrix(rows: list[Weights], names: tuple[str, ...]) -> np.ndarray:
    return np.array([[row.get(name, 0.0) for name in names] for row in rows], dtype=np.float32)


def _pairs(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts for side in ("left", "right"))


def _sided(side: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts)


_ARM, _LEG, _FOOT = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"), ("big_toe", "small_toe", "heel")
_COCO17 = ("nose", *_pairs("eye", "ear", *_ARM, *_LEG))
_ARMS_OPENPOSE, _LEGS_OPENPOSE = (_sided("right", *part) + _sided("left", *part) for part in (_ARM, _LEG))
_FACE_OPENPOSE = ("right_eye", "left_eye", "right_ear", "left_ear")
_FEET_OPENPOSE = _sided("left", *_FOOT) + _sided("right", *_FOOT)
_HALPE26 = (*_COCO17, "head", "neck", "mid_hip", *_pairs(*_FOOT))
_FACE_AND_HANDS = tuple(
    f"{part}_{number}"
    for part, count in (("face", 68), ("left_hand", 21), ("right_hand", 21))
    for number in range(count)
)
_MEDIAPIPE_EYES = ("eye_inner", "eye", "eye_outer")
_MEDIAPIPE33 = (
    *("nose", *_sided("left", *_MEDIAPIPE_EYES), *_sided("right", *_MEDIAPIPE_EYES)),
    *_pairs("ear", "mouth", *_ARM, "pinky", "index", "thumb", *_LEG, "heel", "foot_index"),
)

_CLOSER_HIPS, _WIDER_SHOULDERS = 0.08, 0.05  # shares of the width
_LOWER_ELBOWS = 0.08  # share of the upper arm


def _apart(part: str, share: float) -> dict[str, Weights]:
    """Return both points of a part, moved away from each other by a share of their distance."""
    both = ("left", "right"), ("right", "left")
    return {f"{one}_{part}": {f"{one}_{part}": 1 + share, f"{other}_{part}": -share} for one, other in both}


_MEDIAPIPE_LIMBS = {**_apart("hip", -_CLOSER_HIPS), **_apart("shoulder", _WIDER_SHOULDERS)}
_MEDIAPIPE_LIMBS |= {
    f"{side}_elbow": {f"{side}_elbow": 1 + _LOWER_ELBOWS, f"{side}_shoulder": -_LOWER_ELBOWS}
    for side in ("left", "right")
}
# the inverse of `_MEDIAPIPE_LIMBS`: the keypoints in terms of the joints
_MEDIAPIPE_PLACES = {
    **_apart("hip", _CLOSER_HIPS / (1 - 2 * _CLOSER_HIPS)),
    **_apart("shoulder", -_WIDER_SHOULDERS / (1 + 2 * _WIDER_SHOULDERS)),
}
_MEDIAPIPE_PLACES |= {
    f"{side}_elbow": _sum(
        (1 / (1 + _LOWER_ELBOWS), {f"{side}_elbow": 1}),
        (_LOWER_ELBOWS / (1 + _LOWER_ELBOWS), _MEDIAPIPE_PLACES[f"{side}_shoulder"]),
    )
    for side in ("left", "right")
}

_OF_HALPE = _derivations(_NECK, _CROWN)
_HALPE_NECK = {"neck": {"thorax": 0.75, "nose": 0.25}}
SKELETONS: Mapping[Detector, DetectorSkeleton] = {
    Detector.COCO17: DetectorSkeleton(_COCO17, _derivations(_mid("shoulder"), _ABOVE_EARS)),
    Detector.COCO18: DetectorSkeleton(
        ("nose", "neck", *_ARMS_OPENPOSE, *_LEGS_OPENPOSE, *_FACE_OPENPOSE), _derivations(_NECK, _ABOVE_EARS)
    ),
    Detector.HALPE26: DetectorSkeleton(_HALPE26, _OF_HALPE, _HALPE_NECK),
    Detector.HALPE136: DetectorSkeleton((*_HALPE26, *_FACE_AND_HANDS), _OF_HALPE, _HALPE_NECK),
    Detector.BODY25: DetectorSkeleton(
        ("nose", "neck", *_ARMS_OPENPOSE, "mid_hip", *_LEGS_OPENPOSE, *_FACE_OPENPOSE, *_FEET_OPENPOSE),
        _derivations(_NECK, _ABOVE_EARS),
    ),
    Detector.BODY25B: DetectorSkeleton(
        (*_COCO17, "neck", "head", *_FEET_OPENPOSE), _derivations(_NECK, _CROWN), {"neck": {"thorax": 1.0}}
    ),
    Detector.MEDIAPIPE33: DetectorSkeleton(
        _MEDIAPIPE33, _derivations(_mid("shoulder"), _ABOVE_EARS) | _MEDIAPIPE_LIMBS, _MEDIAPIPE_PLACES
    ),
    Detector.H36M17: DetectorSkeleton(
        JOINTS, {name: {name: 1.0} for name in JOINTS}, {name: {name: 1.0} for name in JOINTS}
    ),
}
