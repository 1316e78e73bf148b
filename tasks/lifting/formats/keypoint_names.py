"""Identify keypoints by their names in any spelling, and the skeleton that has a set of names."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector

_BY_NAME = (Detector.HALPE26, Detector.COCO17, Detector.BODY25, Detector.H36M17)  # preferred first, if several fit
_LIMBS = {f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "shoulder")}


def _spellings(name: str) -> list[str]:
    """Return spellings of a name without separators: leftknee, kneeleft, lknee, kneel."""
    side, _, part = name.partition("_")
    if side not in ("left", "right"):
        return [name.replace("_", "")]
    part = part.replace("_", "")
    return [side + part, part + side, side[0] + part, part + side[0]]


_NAMES: Mapping[str, str] = {
    **{
        spelling: name
        for skeleton in SKELETONS.values()
        for name in skeleton.keypoints
        if not name[-1].isdigit()
        for spelling in _spellings(name)
    },
    **{"chip": "mid_hip", "hip": "mid_hip", "headtop": "head", "topofhead": "head"},
}


def keypoint_name(text: str) -> str | None:
    """Return the keypoint that a name means (`LShoulder`, `shoulder_left`, `leftShoulder`), or None."""
    return _NAMES.get(re.sub(r"[^a-z0-9]", "", text.lower()))


def skeleton_of_names(names: Iterable[str]) -> tuple[Detector, list[str]] | None:
    """Return the skeleton that has these names, and its keypoints in its order, each as in `names` ("": absent).

    All names must be the skeleton's, or the names must contain every keypoint that a joint is derived from. COCO-17 is
    also returned for the limbs alone; joints of the head are missing then. Other names return None.
    """
    known = {keypoint: name for name in names if (keypoint := keypoint_name(name)) is not None}
    exact = [skeleton for skeleton, about in SKELETONS.items() if {*about.keypoints} == {*known}]
    complete = [skeleton for skeleton in _BY_NAME if _used(skeleton) <= {*known}]
    found = [*exact, *complete, *([Detector.COCO17] if {*known} >= _LIMBS else [])]
    return (found[0], [known.get(keypoint, "") for keypoint in SKELETONS[found[0]].keypoints]) if found else None


def arranged(values: np.ndarray, names: Sequence[str], keypoints: Sequence[str]) -> np.ndarray:
    """Return `values` (n, names, ...) with one entry for each of `keypoints`; NaN for "", an absent keypoint."""
    places = {name: place for place, name in enumerate(names)}
    result = np.full((len(values), len(keypoints), *values.shape[2:]), np.nan)
    for keypoint, name in enumerate(keypoints):
        if name:
            result[:, keypoint] = values[:, places[name]]
    return result


def _used(skeleton: Detector) -> set[str]:
    """Return the keypoints that joints are derived from."""
    return {SKELETONS[skeleton].keypoints[index] for index in np.flatnonzero(SKELETONS[skeleton].weights.any(axis=0))}
