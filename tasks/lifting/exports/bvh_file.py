"""Write BVH files: a skeleton and its joint angles over time, for Blender and other animation programs.

- Units are centimetres and degrees; y is up. The rest pose is a T that looks along z.
- The CHANNELS of a joint contain its order of rotation, outermost first. At a middle angle of 90 degrees the other
  two angles are ambiguous (gimbal lock). So the middle angle is about the bone's axis in the rest pose, because bones
  turn the shortest way and hardly twist. Arms and hips have Z X Y; legs, trunk and head Z Y X; the root Z X Y, because
  it turns freely about y.
- Several triples of angles describe the same rotation. Each frame has the triple nearest to the previous frame, so
  that programs can interpolate between frames.
"""

import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES
from tasks.lifting.exports.rig import NODES, REST_DIRECTIONS, Node, RiggedMotion, rig

_PER_METRE = 100
_END = 5.0  # length of hands, feet and crown in centimetres, for programs that draw bones


def write_bvh(motion: Motion, path: Path) -> None:
    """Write the motion as a BVH file.

    The nodes come from `tasks.lifting.exports.rig`. If bones have constant lengths, the angles reproduce positions
    within 1 mm.
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
    """Return the order of a node's rotations, outermost first, e.g. `ZXY`."""
    along_y = node.bone >= 0 and np.abs(REST_DIRECTIONS[node.bone]).argmax() == 1
    return "ZYX" if along_y else "ZXY"


def _angles(rotations: np.ndarray, order: str) -> np.ndarray:
    """Return angles (frames, 3) in degrees, continuous over time, of quaternions (frames, 4)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock", UserWarning)  # all of the ambiguous angles are correct
        angles = Rotation.from_quat(rotations).as_euler(order)
    other = np.stack([angles[:, 0] + np.pi, np.pi - angles[:, 1], angles[:, 2] + np.pi], axis=1)
    to_same, to_other = (_way(angles[:-1], then) for then in (angles[1:], other[1:]))
    crossed = np.append(0, np.cumsum(to_other < to_same)) % 2 == 1  # the alternative of an alternative is the original
    return np.rad2deg(np.unwrap(np.where(crossed[:, None], other, angles), axis=0))


def _way(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the distance (n,) in radians between triples of angles (n, 3), modulo whole turns."""
    return np.abs((end - begin + np.pi) % (2 * np.pi) - np.pi).sum(axis=1)


def _hierarchy(rigged: RiggedMotion, index: int, depth: int = 0) -> list[str]:
    node, tab = NODES[index], "  " * depth
    offset = _PER_METRE * rigged.offsets[index] if index else np.zeros(3)  # the root's position is in its channels
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


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.4f}" for value in values)
