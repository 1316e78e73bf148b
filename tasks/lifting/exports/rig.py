"""Convert the joint positions of a motion to joint rotations, for BVH and glTF.

- If bones have constant lengths, the rotations reproduce every joint. Pelvis and thorax have three bones each, which
  one rotation cannot reproduce, so each of these bones has its own node of length 0 (`pelvis_to_right_hip`). Pelvis and
  thorax turn with the best fit to all their bones (Kabsch, Acta Cryst. A32, 1976). The fit of the thorax includes the
  spine, otherwise its rotation is undetermined when shoulders and nose are collinear.
- Bone lengths are medians over the frames. If the length of a bone varies, directions are exact and positions are not.
- Positions do not determine the twist of a bone, so a bone turns the shortest way from the rest pose, relative to its
  parent. The shortest way to the opposite direction is undefined. Beyond 120 degrees a bone therefore keeps the twist
  of the previous frame (parallel transport). The error at its return is spread over the frames beyond 120 degrees.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES, JOINTS, PELVIS

_UP, _DOWN, _LEFT, _RIGHT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_FACE, _CROWN = (0.0, 0.8, 0.6), (0.0, 0.96, -0.28)  # thorax to nose, nose to head

# Directions of `BONES` in the rest pose, (16, 3) unit vectors: a T with y up that looks along z, the left arm along x.
REST_DIRECTIONS = np.array(
    [
        *(_RIGHT, _DOWN, _DOWN),
        *(_LEFT, _DOWN, _DOWN),
        *(_UP, _UP, _FACE, _CROWN),
        *(_LEFT, _LEFT, _LEFT),
        *(_RIGHT, _RIGHT, _RIGHT),
    ]
)
_NO_LENGTH = 1e-6  # metres
_FAR = np.cos(np.deg2rad(120))


@dataclass(frozen=True)
class Node:
    """A rotating node of the rig."""

    name: str
    parent: int  # index of the parent node, or -1 for the root
    joint: int
    bone: int  # index in `BONES` of the bone that the node aims; -1 for a best fit to several bones, or a leaf


def _add_nodes(nodes: list[Node], joint: int, parent: int) -> None:
    """Add the node of a joint and its descendants, parents first."""
    bones = [bone for bone, (begins, _) in enumerate(BONES) if begins == joint]
    index = len(nodes)
    nodes.append(Node(JOINTS[joint], parent, joint, bones[0] if len(bones) == 1 else -1))
    for bone in bones:
        child, carrier = BONES[bone][1], index
        if len(bones) > 1:
            carrier = len(nodes)
            nodes.append(Node(f"{JOINTS[joint]}_to_{JOINTS[child]}", index, joint, bone))
        _add_nodes(nodes, child, carrier)


NODES: list[Node] = []
_add_nodes(NODES, PELVIS, -1)


@dataclass(frozen=True)
class RiggedMotion:
    """A motion as rotations; metres, y up.

    Rotations are unit quaternions (x, y, z, w) relative to the parent node, with signs that avoid jumps over time.
    """

    lengths: np.ndarray  # (16,) lengths of `BONES`
    offsets: np.ndarray  # (nodes, 3) from the parent in the rest pose; for the root, from the floor
    rotations: np.ndarray  # (frames, nodes, 4)
    root: np.ndarray  # (frames, 3) positions of the pelvis

    @property
    def rest(self) -> np.ndarray:
        """Positions of the nodes in the rest pose, (nodes, 3), metres, y up."""
        places = self.offsets.copy()
        for index, node in enumerate(NODES[1:], start=1):
            places[index] += places[node.parent]
        return places


def rig(motion: Motion) -> RiggedMotion:
    """Return the joint rotations of a motion; all its numbers must be finite."""
    joints = motion.joints_y_up.astype(np.float64)
    begins, ends = np.array(BONES).T
    bones = joints[:, ends] - joints[:, begins]
    reach = np.linalg.norm(bones, axis=-1, keepdims=True)
    directions = np.where(reach > _NO_LENGTH, bones / np.maximum(reach, _NO_LENGTH), REST_DIRECTIONS)
    lengths = np.median(reach[..., 0], axis=0)
    world: list[Rotation] = []
    local: list[Rotation] = []
    for node in NODES:
        parent = world[node.parent] if node.parent >= 0 else Rotation.identity(len(joints))
        if node.bone >= 0:
            turn = _aim(REST_DIRECTIONS[node.bone], parent.inv().apply(directions[:, node.bone]))
        elif len(around := [bone for bone, pair in enumerate(BONES) if node.joint in pair]) > 1:
            turn = parent.inv() * _best_fit(REST_DIRECTIONS[around], directions[:, around])
        else:
            turn = Rotation.identity(len(joints))
        local.append(turn)
        world.append(parent * turn)
    rotations = np.stack([_same_side(turn.as_quat()) for turn in local], axis=1)
    return RiggedMotion(lengths, _offsets(lengths), rotations, joints[:, PELVIS])


def _offsets(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros((len(NODES), 3))
    bone_to = {child: bone for bone, (_, child) in enumerate(BONES)}
    for index, node in enumerate(NODES[1:], start=1):
        if node.joint != NODES[node.parent].joint:
            offsets[index] = lengths[bone_to[node.joint]] * REST_DIRECTIONS[bone_to[node.joint]]
    offsets[0, 1] = max(lengths[1] + lengths[2], lengths[4] + lengths[5])  # the longer leg reaches the floor
    return offsets


def _best_fit(rest: np.ndarray, directions: np.ndarray) -> Rotation:
    """Return rotations (frames) that bring unit vectors `rest` (n, 3) nearest to `directions` (frames, n, 3)."""
    left, _, right = np.linalg.svd(np.einsum("tni,nj->tij", directions, rest))
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]  # no reflections
    return Rotation.from_matrix(left @ right)


def _aim(rest: np.ndarray, directions: np.ndarray) -> Rotation:
    """Return rotations (frames) from the unit vector `rest` to `directions` (frames, 3), without jumps of the twist."""
    shortest = _shortest(rest, directions)
    step = shortest[1:].inv() * _shortest(directions[:-1], directions[1:]) * shortest[:-1]  # a twist about `rest`
    *axis, real = step.as_quat().T
    twist = (2 * np.arctan2(rest @ np.array(axis), real) + np.pi) % (2 * np.pi) - np.pi
    far = directions @ rest < _FAR
    carried = np.cumsum(np.append(0, np.where(far[1:] | far[:-1], twist, 0)))
    near = np.flatnonzero(~far)
    if near.size:
        turns = np.round(np.diff(carried[near]) / (2 * np.pi)).cumsum() * 2 * np.pi  # whole turns do not count
        left_over = carried[near] - carried[near[0]] - np.append(0, turns)
        carried -= carried[near[0]] + np.interp(np.arange(len(far)), near, left_over)
    return shortest * Rotation.from_rotvec(carried[:, None] * rest)


def _shortest(begin: np.ndarray, end: np.ndarray) -> Rotation:
    """Return the shortest rotations between unit vectors, (n, 3) or (3,); between opposite vectors, about any axis."""
    begin, end = np.broadcast_arrays(begin, end)
    real = 1 + np.sum(begin * end, axis=-1, keepdims=True)
    across = np.cross(begin, np.eye(3)[np.abs(begin).argmin(axis=-1)])
    quaternions = np.concatenate([np.where(real > 1e-12, np.cross(begin, end), across), real], axis=-1)
    return Rotation.from_quat(quaternions)


def _same_side(quaternions: np.ndarray) -> np.ndarray:
    """Return quaternions (frames, 4) with signs chosen so that each is nearest to the previous frame."""
    against = np.sum(quaternions[1:] * quaternions[:-1], axis=-1) < 0
    return quaternions * np.where(np.append(0, np.cumsum(against)) % 2, -1, 1)[:, None]
