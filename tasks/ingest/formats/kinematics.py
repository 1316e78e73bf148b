"""Compute the joints of the skeleton from the rotations of a rig: forward kinematics over all frames at once.

- The channels of a joint are applied in the order of the file, the first one outermost. Position channels replace the
  OFFSET of a joint. A few programs write positions relative to the OFFSET; these positions are near zero.
- Only the needed joints and their ancestors are computed, in blocks of frames, so that memory is bounded.
- The spine is the point halfway along the bones from the pelvis to the neck.
- Up and forward of the head bone come from the rest pose if it is a standing person. Otherwise (in LAFAN's files, all
  bones point along x at rest) the head is assumed to face where the shoulders face, on average over the frames.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.ingest.formats.body import Points, across, axes_in_bone, rotate, to_h36m, trunk_axes, unit

_BLOCK = 2048  # frames
_SAMPLED = 1000  # frames for the directions of the head
_NEAR_ZERO = 0.1  # share of the length of an offset
_STANDING = 0.8  # least cosine between trunk and reversed legs, and between hips and shoulders

Places = Mapping[int, np.ndarray]  # positions (frames, 3) by index of the joint
Turns = Mapping[int, np.ndarray]  # rotation matrices (frames, 3, 3) by index of the joint
Part = tuple[int, int, float]  # two joints, and the weight of the second one


@dataclass
class Joint:
    """A joint of the hierarchy; `channels`, e.g. ("rotation", "X"), begin in column `first` of the frames."""

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[tuple[str, str]] = field(default_factory=list)
    first: int = 0

    def columns(self, kind: str) -> dict[str, int]:
        """Return the column of each axis that has a channel of this kind, in the order of the file."""
        return {axis: self.first + place for place, (of, axis) in enumerate(self.channels) if of == kind}


def poses_of(joints: Sequence[Joint], found: Mapping[str, int], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints of all frames (frames, 17, 3) and of the rest pose (1, 17, 3), in the file's unit and axes.

    Parameters
    ----------
    joints
        The hierarchy, parents first.
    found
        The indices of the needed joints by name (`tasks.ingest.formats.names.find_joints`).
    values
        The channels (frames, columns), angles in degrees.
    """
    needed = _with_ancestors(joints, found.values())
    added = {index: _added_to_offset(joints[index], values) for index in needed}
    zeros = np.zeros((1, values.shape[1]))
    rest, turns = _forward(joints, needed, zeros, dict.fromkeys(needed, True))
    spine = None if "spine" in found else _middle_of_spine(joints, found, rest)
    head = None
    if "nose" not in found:
        standing = _points(found, spine, rest)
        if not _is_standing(standing):
            places, turns = _forward(joints, needed, values[:: len(values) // _SAMPLED + 1], added)
            standing = _points(found, spine, places)
        head = axes_in_bone(trunk_axes(standing), turns[found["head"]])
    blocks = []
    for first in range(0, len(values), _BLOCK):
        places, turns = _forward(joints, needed, values[first : first + _BLOCK], added)
        axes = head and (turns[found["head"]] @ head[0], turns[found["head"]] @ head[1])
        blocks.append(to_h36m(_points(found, spine, places), axes))
    return np.concatenate(blocks), to_h36m(_points(found, spine, rest), head)


def _with_ancestors(joints: Sequence[Joint], wanted: Iterable[int]) -> list[int]:
    needed: set[int] = set()
    for index in wanted:
        while index >= 0 and index not in needed:
            needed.add(index)
            index = joints[index].parent
    return sorted(needed)


def _added_to_offset(joint: Joint, values: np.ndarray) -> bool:
    """Return whether the position channels of a joint are relative to its offset; those of the root never are."""
    columns = joint.columns("position")
    if not columns or joint.parent < 0:
        return False
    typical = np.median(values[:, list(columns.values())], axis=0)
    offset = joint.offset[["XYZ".index(axis) for axis in columns]]
    return bool(np.linalg.norm(typical) < _NEAR_ZERO * np.linalg.norm(offset))


def _forward(
    joints: Sequence[Joint], needed: Sequence[int], values: np.ndarray, added: Mapping[int, bool]
) -> tuple[Places, Turns]:
    """Return world positions and rotations of joints; `values` has the channels, `added` is from `_added_to_offset`."""
    places: dict[int, np.ndarray] = {}
    turns: dict[int, np.ndarray] = {}
    for index in needed:
        joint = joints[index]
        local = np.tile(joint.offset, (len(values), 1))
        for axis, column in joint.columns("position").items():
            place = "XYZ".index(axis)
            local[:, place] = values[:, column] + (joint.offset[place] if added[index] else 0)
        if joint.parent >= 0:
            turn = turns[joint.parent]
            local = places[joint.parent] + rotate(turn, local)
        else:
            turn = np.tile(np.eye(3), (len(values), 1, 1))
        for axis, column in joint.columns("rotation").items():
            turn = _turned(turn, "XYZ".index(axis), values[:, column])
        places[index], turns[index] = local, turn
    return places, turns


def _turned(turns: np.ndarray, axis: int, degrees: np.ndarray) -> np.ndarray:
    """Return rotation matrices (frames, 3, 3), each followed by a rotation about one of its own axes."""
    cos, sin = np.cos(np.deg2rad(degrees))[:, None], np.sin(np.deg2rad(degrees))[:, None]
    second, third = (axis + 1) % 3, (axis + 2) % 3
    turned = turns.copy()
    turned[:, :, second] = cos * turns[:, :, second] + sin * turns[:, :, third]
    turned[:, :, third] = cos * turns[:, :, third] - sin * turns[:, :, second]
    return turned


def _middle_of_spine(joints: Sequence[Joint], found: Mapping[str, int], rest: Places) -> Part | None:
    """Return the point halfway along the chain of joints from hips to neck; None if it is before the first joint."""
    trunk = _with_ancestors(joints, [found["neck"]])
    legs = {*_with_ancestors(joints, [found["left_hip"]])}
    chain = [index for index in trunk if index not in legs]  # sorted, so from the hips to the neck
    pelvis = (rest[found["left_hip"]] + rest[found["right_hip"]]) / 2
    steps = np.linalg.norm(np.diff([pelvis, *(rest[index] for index in chain)], axis=0), axis=-1)[:, 0]
    ends = np.cumsum(steps)
    number = int(np.searchsorted(ends, ends[-1] / 2)) if chain else 0  # no chain: the neck is an ancestor of the legs
    if number == 0:
        return None
    return chain[number - 1], chain[number], float((ends[-1] / 2 - ends[number - 1]) / steps[number])


def _points(found: Mapping[str, int], spine: Part | None, places: Places) -> Points:
    points = {name: places[index] for name, index in found.items()}
    if spine is not None:
        begin, end, weight = spine
        points["spine"] = (1 - weight) * places[begin] + weight * places[end]
    return points


def _is_standing(points: Points) -> bool:
    """Return whether the legs are below the trunk and the arms are on the same sides as the legs."""
    up, _ = trunk_axes(points)
    legs = points["left_ankle"] + points["right_ankle"] - points["left_hip"] - points["right_hip"]
    hips = points["right_hip"] - points["left_hip"]
    down, side = float((unit(legs) * up).sum()), float((unit(hips) * unit(across(points))).sum())
    return down < -_STANDING and side > _STANDING
