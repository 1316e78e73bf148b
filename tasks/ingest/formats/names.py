"""Find body joints by their names, for the rigs of animation programs and for files with joint centres.

A name is compared in lower case, without namespace (`mixamorig:`), common prefix (`Bip01 `), separators, final digits
and `jnt`. The table covers CMU (cgspeed, ASF), Bandai-Namco, LAFAN, Mixamo, 3ds Max Biped, Unreal, SMPL (HumanML3D),
Xsens, OptiTrack, DeepMotion, Pose2Sim and the exports of this project. Clavicles, fingers and twist bones have no
entry.
"""

import os
import re
from collections.abc import Sequence

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS

# Names of the joint at the start of a bone. An earlier name has priority: of LeftArm and LeftShoulder in one rig,
# LeftShoulder is the clavicle; of L_Ankle and L_Foot, L_Foot is the toe.
_LIMBS = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "hjc", "hip"),
    "knee": ("knee", "kjc", "lowerleg", "lowleg", "calf", "shin", "tibia", "leg"),
    "ankle": ("ankle", "ajc", "foot"),
    "shoulder": ("arm", "upperarm", "uparm", "uarm", "humerus", "shldr", "sjc", "shoulder"),
    "elbow": ("elbow", "ejc", "forearm", "lowerarm", "lowarm", "farm", "radius"),
    "wrist": ("wrist", "wjc", "hand"),
}
_MIDDLE = {"neck": ("neck", "neckbase", "lowerneck", "thorax"), "head": ("head",)}
_SIDES = {"left": "l", "right": "r"}
_PREFIX = re.compile(r"(bip\d+|mixamorig\d*|character\d*)(?=.)")
LIMB_JOINTS = tuple(f"{side}_{joint}" for side in _SIDES for joint in _LIMBS)


def find_joints(names: Sequence[str]) -> dict[str, int]:
    """Return the index in `names` of each limb joint, neck, head and nose, by joint; joints not found are absent.

    If `names` contain all 17 joints of the skeleton, the result has the indices of these joints instead.
    """
    plain: dict[str, int] = {}
    for index, name in enumerate(_without_prefix(names)):
        plain.setdefault(name, index)
    own = {joint: plain.get(joint.replace("_", "")) for joint in JOINTS}
    found = own if None not in own.values() else {joint: _first(plain, of) for joint, of in _spellings().items()}
    return {joint: index for joint, index in found.items() if index is not None}


def require_joints(source: object, found: dict[str, int], names: Sequence[str]) -> None:
    """Raise an InputError if `found` lacks neck, head or a limb joint (or, with a pelvis, any of the 17 joints).

    The message lists the missing joints and up to 30 names of the file.
    """
    needed = JOINTS if "pelvis" in found else (*LIMB_JOINTS, "neck", "head")
    if missing := [joint for joint in needed if joint not in found]:
        listed = ", ".join(ascii(name[:40])[1:-1] for name in names[:30])
        raise InputError(
            f"{source}: no joint found for {', '.join(missing)}; the file has the names {listed or '(none)'}"
            f"{', ...' if len(names) > 30 else ''}; rename the joints, e.g. to LeftUpLeg, LeftLeg, LeftFoot, LeftArm,"
            " LeftForeArm, LeftHand, Neck, Head"
        )


def _spellings() -> dict[str, list[str]]:
    sided = {
        f"{side}_{joint}": [text for part in parts for text in (side + part, part + side, short + part, part + short)]
        for side, short in _SIDES.items()
        for joint, parts in _LIMBS.items()
    }
    return {**sided, **{joint: list(parts) for joint, parts in _MIDDLE.items()}, "nose": ["nose"]}


def _first(plain: dict[str, int], spellings: Sequence[str]) -> int | None:
    return next((plain[name] for name in spellings if name in plain), None)


def _without_prefix(names: Sequence[str]) -> list[str]:
    common = len(os.path.commonprefix(names)) if len(names) > 1 else 0  # noqa: RUF071 # of letters, not of paths
    short = (name[common:].rpartition(":")[2] for name in names)
    letters = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in short)
    return [re.sub(r"(\d+|jnt)$", "", _PREFIX.sub("", name, count=1)) for name in letters]
