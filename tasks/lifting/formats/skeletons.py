"""Identify the skeleton of keypoints from all people of a file, if several skeletons have this number of keypoints.

The half of the people with the most certain keypoints decides. Each skeleton has a misfit, the logarithm of a factor,
with four terms:

- Size: the largest ratio of a bone in the image to the same bone of an adult. A bone in the image is at most as long as
  the bone itself, and joints that are clipped at the edge of the image only shorten bones. A wrong skeleton joins
  distant keypoints by short bones, so its body is larger from any side.
- Spread: the largest ratio compared with the median ratio.
- Symmetry: the difference between left and right median bone lengths.
- Direction: the share of people with the nose above the hips.

The weights were chosen on projected synthetic motion (24 yaws, cameras at 1.1 to 5 m, clipped legs).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import KeypointFormat
from data_contracts.skeleton import ADULT_BONES_M, BONES

DECIDED = 1.3  # the second best skeleton must fit worse by this factor
_USUAL_FACTOR = 1.5  # a skeleton that is not usual in the format must fit better by this factor
# Format -> skeleton of most detectors that write it
USUAL = {
    KeypointFormat.ALPHAPOSE: Detector.COCO17,
    KeypointFormat.MMPOSE: Detector.COCO17,
    KeypointFormat.SKELETONS: Detector.COCO17,
    KeypointFormat.COCO: Detector.COCO17,
    KeypointFormat.ULTRALYTICS: Detector.COCO17,
    KeypointFormat.FRAMES: Detector.COCO17,
    KeypointFormat.TABLE: Detector.COCO17,
    KeypointFormat.OPENPOSE: Detector.BODY25,
}
_SPREAD, _SYMMETRY, _UPRIGHT = 0.5, 0.25, 0.3  # weights of the terms; the weight of the size is 1
_MOST_ROWS = 500
_WELL_SEEN = 0.3  # confidence of a certain keypoint, as a share of the 95 % quantile
_FEWEST_SEEN = 10  # with fewer certain keypoints on average, poses do not identify a skeleton
# Distances in a face are generous, because they are small compared with the noise of detectors.
_FACE_M = (
    ("nose", "left_eye", 0.1),
    ("nose", "right_eye", 0.1),
    ("left_eye", "right_eye", 0.13),
    ("left_eye", "left_ear", 0.16),
    ("right_eye", "right_ear", 0.16),
    ("left_ear", "right_ear", 0.22),
)
_PARENT, _CHILD = np.array(BONES).T
_LEFT_BONES, _RIGHT_BONES = [3, 4, 5, 10, 11, 12], [0, 1, 2, 13, 14, 15]  # places in BONES


class Choice(NamedTuple):
    """The best skeleton, the second best, and the factor by which the second best fits worse."""

    best: Detector
    second: Detector
    factor: float


def choose_skeleton(
    points: np.ndarray, confidence: np.ndarray, names: Sequence[Detector], format: KeypointFormat
) -> Choice:
    """Return the best of the skeletons `names` for keypoints (n, K, 2); missing keypoints have confidence 0.

    If the poses cannot identify it, the result is the usual skeleton of `format` with factor 1.
    """
    well_seen = (confidence > 0) & (confidence >= _WELL_SEEN * np.quantile(confidence, 0.95))
    order = np.argsort(-well_seen.sum(axis=1), kind="stable")[: (len(points) + 1) // 2]
    rows = order[np.linspace(0, len(order) - 1, min(len(order), _MOST_ROWS)).astype(int)]
    points, confidence = points[rows], confidence[rows]
    bones = np.stack([_bone_ratios(points, confidence, name) for name in names])
    seen = np.isfinite(bones).any(axis=-1).all(axis=0)
    if not seen.any() or well_seen[rows].sum(axis=1).mean() < _FEWEST_SEEN:
        usual, other = sorted(names, key=lambda name: name is not USUAL.get(format))[:2]
        return Choice(usual, other, 1.0)
    of_all = [
        _misfit(points[seen], confidence[seen], ratios, name) - np.log(_USUAL_FACTOR) * (name is USUAL.get(format))
        for name, ratios in zip(names, bones[:, seen], strict=True)
    ]
    best, second = np.argsort(of_all, kind="stable")[:2]
    return Choice(names[best], names[second], float(np.exp(of_all[second] - of_all[best])))


def _misfit(points: np.ndarray, confidence: np.ndarray, bones: np.ndarray, name: Detector) -> float:
    keypoints = SKELETONS[name].keypoints
    face = _face_ratios(points, confidence, keypoints)
    sizes = np.log(np.maximum(np.nanmax(np.hstack([bones, face]), axis=1), 1e-3))
    spreads = sizes - np.log(np.maximum(np.nanmedian(bones, axis=1), 1e-3))
    of_people = sizes + _SPREAD * spreads - _UPRIGHT * _is_upright(points, confidence, keypoints)
    return float(np.median(of_people)) + _SYMMETRY * _asymmetry(bones)


def _bone_ratios(points: np.ndarray, confidence: np.ndarray, name: Detector) -> np.ndarray:
    """Return the ratios (n, 16) of bones in the image to an adult's bones; NaN if not seen."""
    joints, seen = SKELETONS[name].to_h36m(points, confidence)
    both = (seen[:, _PARENT] > 0) & (seen[:, _CHILD] > 0)
    lengths = np.linalg.norm(joints[:, _PARENT] - joints[:, _CHILD], axis=-1)
    return np.where(both, lengths / np.array(ADULT_BONES_M), np.nan)


def _face_ratios(points: np.ndarray, confidence: np.ndarray, keypoints: Sequence[str]) -> np.ndarray:
    """Return the ratios (n, pairs) of distances in the face to those of an adult; NaN if not seen."""
    pairs = [(keypoints.index(a), keypoints.index(b), m) for a, b, m in _FACE_M if {a, b} <= {*keypoints}]
    ratios = np.full((len(points), len(pairs)), np.nan)
    for place, (one, other, metres) in enumerate(pairs):
        both = (confidence[:, one] > 0) & (confidence[:, other] > 0)
        ratios[both, place] = np.linalg.norm(points[both, one] - points[both, other], axis=-1) / metres
    return ratios


def _is_upright(points: np.ndarray, confidence: np.ndarray, keypoints: Sequence[str]) -> np.ndarray:
    """Return 1 for people (n,) whose nose is above the hips that were seen, 0 for others, 0.5 if not seen."""
    hips, nose = [keypoints.index("left_hip"), keypoints.index("right_hip")], keypoints.index("nose")
    seen = (confidence[:, hips] > 0) & (confidence[:, [nose]] > 0)
    below = (seen * (points[:, hips, 1] - points[:, [nose], 1])).sum(axis=1)
    return np.where(seen.any(axis=1), below > 0, 0.5)


def _asymmetry(bones: np.ndarray) -> float:
    """Return the mean |log| of left relative to right bones, each the median of its ratios, from `bones` (n, 16)."""
    medians = np.ma.median(np.ma.masked_invalid(bones), axis=0)  # masked if a bone was never seen
    logs = np.ma.log(np.ma.maximum(medians, 1e-3))
    return float(np.ma.filled(np.ma.abs(logs[_LEFT_BONES] - logs[_RIGHT_BONES]).mean(), 0.0))
