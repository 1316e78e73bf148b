"""Estimate joint centres from Plug-in-Gait markers, in metres.

- Hips: Harrington et al., J. Biomech. 40 (2007), from pelvic width and depth. A shoulder is below its acromion marker,
  by 17 % of the distance between the acromia (Rab et al., Gait & Posture 15, 2002). Wrists: midpoint of both markers.
  Base of the neck: midpoint of C7 and CLAV.
- Knee, ankle and elbow are inward of their lateral markers by half a joint width (0.10, 0.07 and 0.07 m) and the
  radius of a marker (7 mm), along the axis of flexion. A straight limb has no such axis. The axis is therefore a
  weighted sum: the axis of pelvis or shoulders, rotated with the limb the shortest way (weight 1), and the axis of
  flexion (weight 3 times the sine of the flexion).
- Four markers give the rotation of the head. On average over the frames, the head's directions up and forward are those
  of the trunk.
"""

from collections.abc import Iterable

import numpy as np

from tasks.ingest.formats.body import Points, axes_in_bone, to_h36m, trunk_axes, unit

_SIDES = ("L", "R")
_MARKERS = tuple(f"{side}{name}" for side in _SIDES for name in ("ASI", "KNE", "ANK", "SHO", "ELB", "FHD", "BHD"))
_ALIASES = {"LASIS": "LASI", "RASIS": "RASI", "LPSIS": "LPSI", "RPSIS": "RPSI", "SACRUM": "SACR"}
_HALF_KNEE, _HALF_ANKLE, _HALF_ELBOW = 0.057, 0.042, 0.042
_FLEXION = 3.0
_ROUNDS = 3  # each round begins with the centres of the previous round


def find_markers(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the name in the file of each marker that is needed, and the needed markers that are missing."""
    plain: dict[str, str] = {}
    for name in names:
        marker = name.rpartition(":")[2].upper()
        plain.setdefault(_ALIASES.get(marker, marker), name)
    sacrum = ("LPSI", "RPSI") if "LPSI" in plain or "SACR" not in plain else ("SACR",)
    needed = (*_MARKERS, "C7", "CLAV", *sacrum, *(f"{side}WR{end}" for side in _SIDES for end in "AB"))
    return {name: plain[name] for name in needed if name in plain}, [name for name in needed if name not in plain]


def joints_of_markers(markers: Points) -> np.ndarray:
    """Return joints (frames, 17, 3) of markers (frames, 3) by name, in metres."""
    points = _hips(markers)
    points["neck"] = (markers["C7"] + markers["CLAV"]) / 2
    points["head"] = np.mean([markers[f"{side}{end}HD"] for side in _SIDES for end in "FB"], axis=0)
    between = markers["RSHO"] - markers["LSHO"]
    up = unit(points["neck"] - (points["left_hip"] + points["right_hip"]) / 2)
    width = float(np.median(np.linalg.norm(between, axis=-1)))
    for letter, side in zip(_SIDES, ("left", "right"), strict=True):
        points[f"{side}_shoulder"] = markers[f"{letter}SHO"] - 0.17 * width * up
        points[f"{side}_wrist"] = (markers[f"{letter}WRA"] + markers[f"{letter}WRB"]) / 2
        inward = 1.0 if side == "left" else -1.0
        _leg(points, markers, letter, side, inward)
        wrist, shoulder, marker = points[f"{side}_wrist"], points[f"{side}_shoulder"], markers[f"{letter}ELB"]
        right = _across_limb(shoulder, marker, wrist, -up, between, inward * _HALF_ELBOW, bends=1.0)
        points[f"{side}_elbow"] = marker + inward * _HALF_ELBOW * right
    turns = _head_turns(markers)
    up_in_head, forward_in_head = axes_in_bone(trunk_axes(points), turns)
    return to_h36m(points, (turns @ up_in_head, turns @ forward_in_head))


def _hips(markers: Points) -> dict[str, np.ndarray]:
    front = (markers["LASI"] + markers["RASI"]) / 2
    back = markers["SACR"] if "SACR" in markers else (markers["LPSI"] + markers["RPSI"]) / 2
    wide, deep = markers["RASI"] - markers["LASI"], front - back
    width, depth = (float(np.median(np.linalg.norm(vector, axis=-1))) for vector in (wide, deep))
    right = unit(wide)
    forward = unit(deep - _along(deep, right) * right)
    middle = front - (0.24 * depth + 0.0099) * forward - (0.30 * width + 0.0109) * np.cross(right, forward)
    aside = (0.33 * width + 0.0073) * right
    return {"left_hip": middle - aside, "right_hip": middle + aside}


def _leg(points: dict[str, np.ndarray], markers: Points, letter: str, side: str, inward: float) -> None:
    """Add knee and ankle of one leg to `points`; `inward` is 1 for the left leg and -1 for the right leg."""
    between = points["right_hip"] - points["left_hip"]
    down = -unit(points["neck"] - (points["left_hip"] + points["right_hip"]) / 2)
    hip, knee, ankle = points[f"{side}_hip"], markers[f"{letter}KNE"], markers[f"{letter}ANK"]
    right = _across_limb(hip, knee, ankle, down, between, inward * _HALF_KNEE, bends=-1.0, end=inward * _HALF_ANKLE)
    points[f"{side}_knee"] = knee + inward * _HALF_KNEE * right
    points[f"{side}_ankle"] = ankle + inward * _HALF_ANKLE * right


def _across_limb(
    begin: np.ndarray,
    marker: np.ndarray,
    last: np.ndarray,
    down: np.ndarray,
    between: np.ndarray,
    half: float,
    bends: float,
    end: float = 0.0,
) -> np.ndarray:
    """Return the axis of flexion (frames, 3) of a knee or an elbow; it points to the right of a standing person.

    `begin` is hip or shoulder, `marker` is at the knee or elbow, `last` is the ankle marker or the wrist. `down` are
    unit vectors down the trunk, `between` the vectors from the left to the right hip or shoulder. `half` and `end` are
    the offsets (metres, positive to the right) along the axis from `marker` and `last` to their joint centres. `bends`
    is 1 if the limb bends forwards, else -1.
    """
    right = unit(between - _along(between, down) * down)
    axis = _carried(right, down, unit(marker - begin))
    for _ in range(_ROUNDS):
        middle = marker + half * axis
        upper, lower = unit(middle - begin), unit(last + end * axis - middle)
        axis = unit(_carried(right, down, upper) + _FLEXION * bends * np.cross(upper, lower))
    return axis


def _carried(vectors: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return vectors (frames, 3) turned by the shortest rotation from `begin` to `end` (Rodrigues' formula)."""
    axis = np.cross(begin, end)
    once = np.cross(axis, vectors)
    return vectors + once + np.cross(axis, once) / np.maximum(1 + _along(begin, end), 1e-6)


def _head_turns(markers: Points) -> np.ndarray:
    front, back = markers["LFHD"] + markers["RFHD"], markers["LBHD"] + markers["RBHD"]
    right = unit(markers["RFHD"] + markers["RBHD"] - markers["LFHD"] - markers["LBHD"])
    forward = unit(front - back - _along(front - back, right) * right)
    return np.stack([right, forward, np.cross(right, forward)], axis=-1)


def _along(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return np.sum(vectors * directions, axis=-1, keepdims=True)
