"""BVH: a skeleton and the angles of its joints over time, as Blender and every animation program import it.

Notable decisions:
- centimetres, as is common (BVH has no place for a unit), y up, degrees; the rest pose is a T that looks along z;
- every joint of the file says its order of rotation in its CHANNELS, outermost first. The middle angle of three must
  keep away from 90 degrees, where the other two become one: it is that about the bone's axis in the rest pose, which a
  bone that turns the shortest way hardly turns about. So arms and hips have Z X Y; legs, trunk and head Z Y X; the
  root, which turns about its y as it likes, Z X Y;
- of the two triples of angles that are one rotation, and of their whole turns, each frame has what is nearest to the
  frame before, so that what is between frames can be interpolated.
"""

import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES
from tasks.lifting.exports.rig import NODES, REST_DIRECTIONS, Node, RiggedMotion, rig

_PER_METRE = 100
_END = 5.0  # centimetres that a hand, a foot or the crown goes on, for programs that draw bones


def write_bvh(motion: Motion, path: Path) -> None:
    """Write the motion as HIERARCHY and MOTION.

    Joints have the names of `JOINTS`; pelvis and thorax also have one of no length for each of their bones, as
    `tasks.lifting.exports.rig` says. Angles give back positions within 1 mm where bones keep their lengths.
    """
    rigged = rig(motion)
    angles = [_angles(rigged.rotations[:, index], _order(node)) for index, node in enumerate(NODES)]
    rows = np.concatenate([_PER_METRE * rigged.root, *angles], axis=1)
    with path.open("w", encoding="ascii", newline="") as file:
        file.write("HIERARCHY\n")
        file.writelines(f"{line}\n" for line in _hierarchy(rigged, 0))
        file.write(f"MOTION\nFrames: {motion.frames}\nFrame Time: {1 / motion.fps:.10f}\n")
        np.savetxt(file, rows, fmt="%.4f")


def _order(node: Node) -> str:
    """Of the rotation about each axis, outermost first."""
    along_y = node.bone >= 0 and np.abs(REST_DIRECTIONS[node.bone]).argmax() == 1
    return "ZYX" if along_y else "ZXY"


def _angles(rotations: np.ndarray, order: str) -> np.ndarray:
    """Angles (frames, 3) in degrees, continuous over time, of quaternions (frames, 4)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock", UserWarning)  # any of the angles that it could be is right
        angles = Rotation.from_quat(rotations).as_euler(order)
    other = np.stack([angles[:, 0] + np.pi, np.pi - angles[:, 1], angles[:, 2] + np.pi], axis=1)
    to_same, to_other = (_way(angles[:-1], then) for then in (angles[1:], other[1:]))
    crossed = np.append(0, np.cumsum(to_other < to_same)) % 2 == 1  # alike from either: the other's other is the same
    return np.rad2deg(np.unwrap(np.where(crossed[:, None], other, angles), axis=0))


def _way(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How far angles (n, 3) are from each other, whole turns apart: (n,)."""
    return np.abs((end - begin + np.pi) % (2 * np.pi) - np.pi).sum(axis=1)


def _hierarchy(rigged: RiggedMotion, index: int, depth: int = 0) -> list[str]:
    """Lines of a node and of all below it."""
    node, tab = NODES[index], "  " * depth
    offset = (
        [0.0, 0.0, 0.0] if index == 0 else _PER_METRE * rigged.offsets[index]
    )  # the root's channels say where it is
    turns = " ".join(f"{axis}rotation" for axis in _order(node))
    channels = f"3 {turns}" if index else f"6 Xposition Yposition Zposition {turns}"
    lines = [
        f"{tab}{'JOINT' if index else 'ROOT'} {node.name}",
        f"{tab}{{",
        f"{tab}  OFFSET {_numbers(offset)}",
        f"{tab}  CHANNELS {channels}",
    ]
    below = [child for child, other in enumerate(NODES) if other.parent == index]
    for child in below:
        lines += _hierarchy(rigged, child, depth + 1)
    if not below:
        (along,) = (bone for bone, (_, end) in enumerate(BONES) if end == node.joint)
        end = _numbers(_END * REST_DIRECTIONS[along])
        lines += [f"{tab}  End Site", f"{tab}  {{", f"{tab}    OFFSET {end}", f"{tab}  }}"]
    return [*lines, f"{tab}}}"]


def _numbers(values: np.ndarray | list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
