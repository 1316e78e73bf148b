"""BVH files of CMU (cgspeed) lack a bone and end the forearm early; the corrected body has the bones of ASF."""

from typing import Any

import numpy as np

from data_contracts.skeleton import BONES
from tests.tasks.ingest.formats.reading import read_recording

ARM = "LeftShoulder 0 0 0, LeftArm 3.2765 0.85634 0.05396, LeftForeArm 4.96755 0 0, LeftHand 3.35751 0 0"
OTHER_ARM = "RightShoulder 0 0 0, RightArm -3.24434 1.02034 0.34688, RightForeArm -5.21859 0 0, RightHand -3.36504 0 0"
LEG = "LHipJoint 0 0 0, LeftUpLeg 1.8559 -1.73949 0.84976, LeftLeg 2.36836 -6.50702 0, LeftFoot 2.53268 -6.95849 0"
OTHER_LEG = (
    "RHipJoint 0 0 0, RightUpLeg -1.68297 -1.73949 0.84976, RightLeg -2.44709 -6.72334 0, RightFoot -2.43843 -6.69953 0"
)
NECK = "Neck 0 0 0, Neck1 -0.12403 1.43168 0.27585, Head 0.17855 1.46173 -0.32578"
SPINE = "LowerBack 0 0 0, Spine -0.0156 2.23971 -0.03712, Spine1 0.0549 2.19225 -0.19086"
SUBJECT_07 = [LEG, OTHER_LEG, (SPINE, [NECK, ARM, OTHER_ARM])]


def hierarchy(chains: list[Any]) -> str:
    text = ""
    for chain in chains:
        bones, below = chain if isinstance(chain, tuple) else (chain, [])
        begins = ""
        for bone in bones.split(", "):
            name, offset = bone.split(" ", 1)
            begins += f"JOINT {name}\n{{\nOFFSET {offset}\nCHANNELS 3 Zrotation Yrotation Xrotation\n"
        text += begins + hierarchy(below) + "}\n" * (bones.count(", ") + 1)
    return text


def test_the_bones_are_those_of_the_asf_file(tmp_path):
    joints = hierarchy(SUBJECT_07)
    channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
    turns = np.random.default_rng(0).normal(scale=3, size=(60, 6 + 3 * joints.count("JOINT")))
    turns[0] = 0  # the T pose before the motion
    rows = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in turns)
    head = f"HIERARCHY\nROOT Hips\n{{\nOFFSET 0 0 0\n{channels}\n{joints}}}\nMOTION\nFrames: 60\nFrame Time: .0083333\n"
    (tmp_path / "07_01.bvh").write_text(head + rows)
    tree, (clip,) = read_recording(tmp_path / "07_01.bvh")
    assert tree.about == "BVH of 23 joints, unit inches x 0.45, y up"
    assert (len(clip), tree["fps"]) == (59, 120)
    length = {bone: np.median(np.linalg.norm(clip[:, bone[0]] - clip[:, bone[1]], axis=1)) for bone in BONES}
    np.testing.assert_allclose([length[4, 5], length[5, 6]], [0.3909, 0.4180], atol=1e-4)
    np.testing.assert_allclose([length[1, 2], length[2, 3]], [0.4039, 0.4024], atol=1e-4)
    assert abs(length[0, 7] + length[7, 8] - 0.563) < 0.01
    assert abs(length[12, 13] - 1.28 * 3.35751 * 0.0254 / 0.45) < 1e-4
    middle = (clip[:, 11] + clip[:, 14]) / 2 - clip[:, 8]
    assert -0.06 < np.median(middle[:, 2]) < 0
