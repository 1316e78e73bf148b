"""Joint rotations of a motion: what BVH and glTF hold in place of positions.

Notable decisions:
- every joint comes out where it was, whatever the directions of the bones, as long as these keep their lengths: pelvis
  and thorax have three bones each and cannot turn towards all, so each of those hangs on a joint of its own, of no
  length (`pelvis_to_right_hip`), and pelvis and thorax turn with the best fit to all bones that meet there (Kabsch,
  Acta Cryst. A32, 1976). Without the spine's, a thorax whose shoulders and nose lie on one line turned as it liked;
- a length is the median over the frames; where a bone does not keep it, directions are kept and positions give way;
- positions tell no twist about a bone: it turns from the rest pose the shortest way, as its parent sees it. Towards the
  opposite direction there is no shortest way: beyond 120 degrees the twist goes on as it was (parallel transport), and
  what is left of it after the way back is spread over that time, so that no bone flips;
- the rest pose is a T: y up, looking along z, the left arm along x.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES, JOINTS, PELVIS
from tasks.lifting.exports.axes import y_up

_UP, _DOWN, _LEFT, _RIGHT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_FACE, _CROWN = (0.0, 0.8, 0.6), (0.0, 0.96, -0.28)  # thorax to nose, nose to head

# Of each bone in `BONES`, (16, 3) unit vectors, y up.
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
    """A place of the rig that turns: `parent` is the node that it hangs on (-1: none), `joint` the joint where it is.

    `bone` is the index in `BONES` of what its turning aims; -1: the best fit to several, or nothing to aim.
    """

    name: str
    parent: int
    joint: int
    bone: int


def _hang(joint: int, parent: int, first: int) -> Iterator[Node]:
    """The node of a joint and all below it, parents first; `first` is the index of the joint's own."""
    bones = [bone for bone, (begins, _) in enumerate(BONES) if begins == joint]
    yield Node(JOINTS[joint], parent, joint, bones[0] if len(bones) == 1 else -1)
    place = first + 1
    for bone in bones:
        child, carrier = BONES[bone][1], first
        if len(bones) > 1:
            yield Node(f"{JOINTS[joint]}_to_{JOINTS[child]}", first, joint, bone)
            carrier, place = place, place + 1
        below = list(_hang(child, carrier, place))
        yield from below
        place += len(below)


NODES = tuple(_hang(PELVIS, -1, 0))


@dataclass(frozen=True)
class RiggedMotion:
    """A motion as rotations; metres, y up.

    Attributes
    ----------
    lengths
        (16,) of `BONES`.
    offsets
        (nodes, 3): of a node of `NODES` from its parent in the rest pose; of the root, from the ground.
    rotations
        (frames, nodes, 4) unit quaternions x, y, z, w, relative to the parent; next to each other in time, the nearer
        one of q and -q.
    root
        (frames, 3): the pelvis.
    """

    lengths: np.ndarray
    offsets: np.ndarray
    rotations: np.ndarray
    root: np.ndarray

    @property
    def rest(self) -> np.ndarray:
        """(nodes, 3): where the nodes are in the rest pose."""
        places = self.offsets.copy()
        for index, node in enumerate(NODES[1:], start=1):
            places[index] += places[node.parent]
        return places


def rig(motion: Motion) -> RiggedMotion:
    """The motion as joint rotations.

    Parameters
    ----------
    motion
        Of finite numbers.

    Returns
    -------
    RiggedMotion
        Forward kinematics of it gives `y_up(motion.joints)` to rounding where bones keep their lengths.
    """
    joints = y_up(motion.joints.astype(np.float64))
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
    offsets[0, 1] = max(lengths[1] + lengths[2], lengths[4] + lengths[5])  # it stands on its longer leg
    return offsets


def _best_fit(rest: np.ndarray, directions: np.ndarray) -> Rotation:
    """Rotations (frames) that bring unit vectors `rest` (n, 3) nearest to `directions` (frames, n, 3)."""
    left, _, right = np.linalg.svd(np.einsum("tni,nj->tij", directions, rest))
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]  # no mirror
    return Rotation.from_matrix(left @ right)


def _aim(rest: np.ndarray, directions: np.ndarray) -> Rotation:
    """Rotations (frames) that bring the unit vector `rest` to `directions` (frames, 3), without a flip of the twist."""
    shortest = _shortest(rest, directions)
    step = shortest[1:].inv() * _shortest(directions[:-1], directions[1:]) * shortest[:-1]  # a twist about `rest`
    *axis, real = step.as_quat().T
    twist = (2 * np.arctan2(rest @ np.array(axis), real) + np.pi) % (2 * np.pi) - np.pi
    far = directions @ rest < _FAR
    carried = np.cumsum(np.append(0, np.where(far[1:] | far[:-1], twist, 0)))
    near = np.flatnonzero(~far)
    if near.size:
        turns = np.round(np.diff(carried[near]) / (2 * np.pi)).cumsum() * 2 * np.pi  # a whole turn is none
        left_over = carried[near] - carried[near[0]] - np.append(0, turns)
        carried -= carried[near[0]] + np.interp(np.arange(len(far)), near, left_over)
    return shortest * Rotation.from_rotvec(carried[:, None] * rest)


def _shortest(begin: np.ndarray, end: np.ndarray) -> Rotation:
    """The shortest turns from unit vectors to others, (n, 3) or (3,); from one to its opposite, about any axis."""
    begin, end = np.broadcast_arrays(begin, end)
    real = 1 + np.sum(begin * end, axis=-1, keepdims=True)
    across = np.cross(begin, np.eye(3)[np.abs(begin).argmin(axis=-1)])
    quaternions = np.concatenate([np.where(real > 1e-12, np.cross(begin, end), across), real], axis=-1)
    return Rotation.from_quat(quaternions)


def _same_side(quaternions: np.ndarray) -> np.ndarray:
    """Of q and -q, which are one rotation, the one nearer to that of the frame before; (frames, 4)."""
    against = np.sum(quaternions[1:] * quaternions[:-1], axis=-1) < 0
    return quaternions * np.where(np.append(0, np.cumsum(against)) % 2, -1, 1)[:, None]
