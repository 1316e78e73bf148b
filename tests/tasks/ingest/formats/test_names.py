"""Joints are found by the names that programs and data sets give them."""

import pytest

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS
from tasks.ingest.formats.names import LIMB_JOINTS, find_joints, require_joints

NEEDED = (*LIMB_JOINTS, "neck", "head")
# names in the order of `NEEDED`: hip, knee, ankle, shoulder, elbow, wrist; left, right; neck, head
RIGS = {
    "unreal": ["thigh_{}", "calf_{}", "foot_{}", "upperarm_{}", "lowerarm_{}", "hand_{}", "neck_01", "head"],
    "daz": ["{}Thigh", "{}Shin", "{}Foot", "{}Shldr", "{}ForeArm", "{}Hand", "neck", "head"],
    "asf": ["{}femur", "{}tibia", "{}foot", "{}humerus", "{}radius", "{}wrist", "lowerneck", "head"],
    "optitrack": ["{}Thigh", "{}Shin", "{}Foot", "{}UArm", "{}FArm", "{}Hand", "Neck", "Head"],
    "deepmotion": [f"{{}}_{part}_JNT" for part in ("upleg", "leg", "foot", "arm", "forearm", "hand")]
    + ["neck_JNT", "head_JNT"],
    "smpl": [f"m_avg_{{}}_{part}" for part in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")]
    + ["m_avg_Neck", "m_avg_Head"],
    "biped": [f"Bip001 {{}} {part}" for part in ("Thigh", "Calf", "Foot", "UpperArm", "Forearm", "Hand")]
    + ["Bip001 Neck", "Bip001 Head"],
    "rigify": ["thigh.{}", "shin.{}", "foot.{}", "upper_arm.{}", "forearm.{}", "hand.{}", "neck", "head"],
}
OTHERS = [
    "{}_Shoulder_x",
    "{}HandIndex1",
    "{}ToeBase",
    "lowerarm_twist_01_{}",
    "{}Clavicle",
    "{}Collar",
    "Hips",
    "Spine1",
]


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("sides", [("l", "r"), ("L", "R"), ("Left", "Right"), ("left", "right")])
def test_limbs_neck_and_head_are_found_in_any_order(rig, sides):
    *limbs, neck, head = RIGS[rig]
    expected = [limb.format(side) for side in sides for limb in limbs] + [neck, head]
    others = [] if "avg" in neck or "Bip" in neck else [name.format(side) for side in sides for name in OTHERS]
    names = [*others, *expected[::-1]]
    found = find_joints(names)
    assert [names[found[joint]] for joint in NEEDED] == expected
    require_joints("file", found, names)


def test_clavicles_and_toes_are_not_shoulders_and_ankles():
    names = ["LeftShoulder", "LeftArm", "L_Ankle", "L_Foot", "RightCollar", "RightShoulder"]
    found = find_joints(names)
    assert [names[found[joint]] for joint in ("left_shoulder", "left_ankle", "right_shoulder")] == [
        "LeftArm",
        "L_Ankle",
        "RightShoulder",
    ]


def test_the_names_of_the_skeleton_are_taken_as_they_are():
    names = ["extra", *JOINTS[::-1], "thorax_to_nose"]
    found = find_joints(names)
    assert [names[found[joint]] for joint in JOINTS] == list(JOINTS)


def test_missing_joints_are_listed_with_names_of_the_file():
    with pytest.raises(
        InputError, match=r"file: no joint found for left_hip, .*, head; .* names \\x1b\[31m, b; rename"
    ):
        require_joints("file", {}, ["\x1b[31m", "b"])
