"""BVH files of rigs as animation programs and data sets write them, made from a motion, with their true joints."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from data_contracts.skeleton import JOINTS
from tasks.lifting.exports.rig import NODES, rig
from tests.tasks.lifting.exports.motions import motion_of

_SIDED = ("shoulder", "arm", "forearm", "hand", "upleg", "leg", "foot")
# key -> parent; the node of `tasks.lifting.exports.rig` that it turns with; {} is the side
PARENTS = {"hips": "", "spine": "hips", "chest": "spine", "neck": "chest", "head": "neck"}
TURNS = {"hips": "pelvis", "spine": "pelvis_to_spine", "chest": "thorax", "neck": "thorax", "head": "thorax_to_nose"}
for _side in ("left", "right"):
    _chain = {"shoulder": "chest", "arm": f"{_side}_shoulder", "forearm": f"{_side}_arm", "hand": f"{_side}_forearm"}
    _chain |= {"upleg": "hips", "leg": f"{_side}_upleg", "foot": f"{_side}_leg"}
    PARENTS |= {f"{_side}_{part}": parent for part, parent in _chain.items()}
    _turns = ("thorax", *(f"{_side}_{joint}" for joint in ("shoulder", "elbow", "elbow", "hip", "knee", "knee")))
    TURNS |= {f"{_side}_{part}": turn for part, turn in zip(_SIDED, _turns, strict=True)}
JOINT_OF = {"neck": "thorax"}
JOINT_OF |= {
    f"{side}_{part}": f"{side}_{joint}"
    for side in ("left", "right")
    for part, joint in zip(_SIDED[1:], ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), strict=True)
}


@dataclass(frozen=True)
class Rig:
    """Names of the joints, in the order of `_SIDED` for those with a side, and the conventions of a file."""

    middle: tuple[str, str, str, str, str]  # hips, spine, chest, neck, head
    sided: tuple[str, ...]
    left_right: tuple[str, str] = ("Left", "Right")
    per_metre: float = 100.0
    up: str = "y"
    order: str = "ZXY"
    positions: str = ""  # of every joint: local or relative (to the offset); default: of the root only
    is_scrambled: bool = False  # in the rest pose, bones point anywhere
    has_outer_root: bool = False  # above the hips, which then have an offset of their own

    def name(self, key: str) -> str:
        side, _, part = key.partition("_")
        if not part:
            return self.middle[list(PARENTS).index(key)]
        text = self.sided[_SIDED.index(part)]
        mark = self.left_right[side == "right"]
        return text.format(mark) if "{}" in text else mark + text


_MIXAMO = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot")
_SMPL = tuple(f"{{}}_{part}" for part in ("Collar", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"))
_BANDAI = ("Shoulder_{}", "UpperArm_{}", "LowerArm_{}", "Hand_{}", "UpperLeg_{}", "LowerLeg_{}", "Foot_{}")
_BIPED = tuple(f"Bip01 {{}} {part}" for part in ("Clavicle", "UpperArm", "Forearm", "Hand", "Thigh", "Calf", "Foot"))
_PREFIXED = tuple(f"mixamorig:{{}}{part}" for part in _MIXAMO)
_HIPS = ("Hips", "Spine", "Spine1", "Neck", "Head")
RIGS = {
    "cmu": Rig(_HIPS, _MIXAMO, per_metre=0.45 / 0.0254, order="ZYX"),
    "bandai": Rig(
        ("Hips", "Spine", "Chest", "Neck", "Head"), _BANDAI, ("L", "R"),
        positions="local", is_scrambled=True, has_outer_root=True,
    ),
    "lafan": Rig(("Hips", "Spine", "Spine2", "Neck", "Head"), _MIXAMO, order="ZYX", is_scrambled=True),
    "relative": Rig(_HIPS, _MIXAMO, positions="relative"),
    "mixamo": Rig(tuple(f"mixamorig:{name}" for name in _HIPS), _PREFIXED, order="XYZ"),
    "mixamo-plain": Rig(_HIPS, _MIXAMO, per_metre=1.0, order="YXZ"),
    "biped": Rig(
        tuple(f"Bip01 {name}" for name in ("Pelvis", "Spine", "Spine1", "Neck", "Head")), _BIPED, ("L", "R"),
        per_metre=1 / 0.0254, up="z",
    ),
    "smpl": Rig(("Pelvis", "Spine1", "Spine3", "Neck", "Head"), _SMPL, ("L", "R"), per_metre=1000.0, order="YZX"),
}  # fmt: skip


def write_rig(path: Path, joints: np.ndarray, rig_of_file: Rig, fps: float = 60.0) -> dict[str, np.ndarray]:
    """Write a BVH file with the poses of joints (frames, 17, 3), metres, z up.

    Returns the true positions (frames, 3) of the rig's joints in metres, z up, by the names of `JOINTS`, and `up` and
    `forward` of the head.
    """
    keys = list(PARENTS)
    parents = [keys.index(PARENTS[key]) if PARENTS[key] else -1 for key in keys]
    rest, turns, root = _pose(joints)
    offsets = np.array([rest[key] - (rest[PARENTS[key]] if PARENTS[key] else 0) for key in keys])
    world = [turns[key] for key in keys]
    places = [root]
    for index in range(1, len(keys)):
        places.append(places[parents[index]] + world[parents[index]].apply(offsets[index]))
    binds = Rotation.identity(len(keys))
    if rig_of_file.is_scrambled:
        binds = Rotation.random(len(keys), rng=np.random.default_rng(1))
    local, local_offsets = [], []
    for index, parent in enumerate(parents):
        turned = world[index] * binds[index]
        local.append((world[parent] * binds[parent]).inv() * turned if parent >= 0 else turned)
        local_offsets.append(binds[parent].inv().apply(offsets[index]) if parent >= 0 else np.zeros(3))
    _write(path, rig_of_file, keys, parents, local, np.array(local_offsets), root, fps)
    true = {JOINT_OF[key]: _z_up(place) for key, place in zip(keys, places, strict=True) if key in JOINT_OF}
    head = world[keys.index("head")]
    true |= {name: _z_up(head.apply(axis)) for name, axis in (("up", [0, 1, 0]), ("forward", [0, 0, 1]))}
    return true | {"skull": _z_up(places[keys.index("head")])}


def _pose(joints: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Rotation], np.ndarray]:
    """Return the rest pose by key, metres, y up, the rotations in the world, and the positions of the root."""
    rigged = rig(motion_of(joints))
    world: list[Rotation] = []
    for index, node in enumerate(NODES):
        turn = Rotation.from_quat(rigged.rotations[:, index])
        world.append(world[node.parent] * turn if node.parent >= 0 else turn)
    nodes = [node.name for node in NODES]
    at = {name: rigged.rest[nodes.index(name)] for name in JOINTS}
    rest = {"hips": at["pelvis"], "spine": 0.7 * at["pelvis"] + 0.3 * at["thorax"], "neck": at["thorax"]}
    rest |= {"chest": 0.3 * at["pelvis"] + 0.7 * at["thorax"], "head": at["thorax"] + [0, 0.1, 0.02]}
    rest |= {key: at[joint] for key, joint in JOINT_OF.items()}
    rest |= {f"{side}_shoulder": (at["thorax"] + at[f"{side}_shoulder"]) / 2 for side in ("left", "right")}
    return rest, {key: world[nodes.index(node)] for key, node in TURNS.items()}, rigged.root


def _write(
    path: Path,
    made: Rig,
    keys: list[str],
    parents: list[int],
    local: list[Rotation],
    offsets: np.ndarray,
    root: np.ndarray,
    fps: float,
) -> None:
    to_file = Rotation.identity() if made.up == "y" else Rotation.from_euler("x", 90, degrees=True)  # y to z
    columns: list[np.ndarray] = []

    def lines(index: int, tab: str) -> list[str]:
        offset = made.per_metre * to_file.apply(offsets[index])
        has_position = index == 0 or made.positions
        channels = "Xposition Yposition Zposition " if has_position else ""
        channels += " ".join(f"{axis}rotation" for axis in made.order)
        if has_position:
            local_place = np.tile(offset * (made.positions == "local"), (len(root), 1))
            columns.append(made.per_metre * to_file.apply(root) if index == 0 else local_place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of gimbal lock
            columns.append((to_file * local[index] * to_file.inv()).as_euler(made.order, degrees=True))
        text = [f"{tab}{'JOINT' if index else 'ROOT'} {made.name(keys[index])}", f"{tab}{{"]
        text += [f"{tab}\tOFFSET {' '.join(f'{value:.6f}' for value in offset)}"]
        text += [f"{tab}\tCHANNELS {len(channels.split())} {channels}"]
        below = [child for child, parent in enumerate(parents) if parent == index]
        for child in below:
            text += lines(child, f"{tab}\t")
        if not below:
            text += [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET 0 0 0", f"{tab}\t}}"]
        return [*text, f"{tab}}}"]

    hierarchy = lines(0, "")
    if made.has_outer_root:
        columns.insert(0, np.zeros((len(root), 6)))
        hierarchy = [line.replace("ROOT", "JOINT") for line in hierarchy]
        hierarchy[2] = "OFFSET -11.25 91.33 32.61"
        channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        hierarchy = ["ROOT joint_Root", "{", "OFFSET 0 0 0", channels, *hierarchy, "}"]
    text = ["HIERARCHY", *hierarchy, "MOTION", f"Frames: {len(root)}", f"Frame Time: {1 / fps:.6f}"]
    with path.open("w", encoding="ascii", newline="\r\n") as file:
        file.writelines(f"{line}\n" for line in text)
        np.savetxt(file, np.concatenate(columns, axis=1), fmt="%.6f")


def _z_up(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)
