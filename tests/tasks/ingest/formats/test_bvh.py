"""BVH files of known rigs become metres with z up; damaged files are refused with the line."""

import bvhio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, Layout
from data_contracts.skeleton import BONES, JOINTS, LIMB_BONES
from data_contracts.sources import find_motion_files
from tasks.ingest.formats.body import CROWN, NOSE
from tasks.ingest.plan import plan_reading
from tasks.lifting.exports.bvh_file import write_bvh
from tests.tasks.ingest.formats.reading import read_recording
from tests.tasks.ingest.formats.rigs import JOINT_OF, RIGS, write_rig
from tests.tasks.lifting.exports.motions import motion_of

UNITS = {"cmu": "inches x 0.45, y up", "biped": "inches, z up", "smpl": "mm, y up", "mixamo-plain": "m, y up"}
LIMBS = list(JOINT_OF.values())


@pytest.mark.parametrize("rig", RIGS)
def test_the_joints_of_every_rig_are_in_metres_with_z_up(rig, walking, tmp_path):
    true = write_rig(tmp_path / "take.bvh", walking, RIGS[rig])
    tree, (clip,) = read_recording(tmp_path / "take.bvh")
    assert tree.about == f"BVH of {19 + RIGS[rig].has_outer_root} joints, unit {UNITS.get(rig, 'cm, y up')}"
    assert (tree["names"], tree["fps"], clip.dtype, clip.shape) == ("take", 60, np.float32, walking.shape)
    for joint in LIMBS:
        np.testing.assert_allclose(clip[:, JOINTS.index(joint)], true[joint], atol=1e-5)
    hips = (true["left_hip"] + true["right_hip"]) / 2
    np.testing.assert_allclose(clip[:, 0], hips, atol=1e-5)
    leg = np.mean([np.linalg.norm(clip[0, a] - clip[0, b]) for a, b in LIMB_BONES[:4]]) * 2
    base = true["skull"] - np.linalg.norm(true["skull"] - true["thorax"], axis=1, keepdims=True) * true["up"]
    for index, (ahead, above) in ((9, NOSE), (10, CROWN)):
        expected = base + leg * (ahead * true["forward"] + above * true["up"])
        atol = 0.03 if RIGS[rig].is_scrambled else 1e-5  # then the head's axes are means over the motion
        np.testing.assert_allclose(clip[:, index], expected, atol=atol)


def test_bones_are_constant_and_the_spine_bends_between_pelvis_and_neck(walking, tmp_path):
    write_rig(tmp_path / "a.bvh", walking, RIGS["mixamo"])
    _, (clip,) = read_recording(tmp_path / "a.bvh")
    lengths = np.stack([np.linalg.norm(clip[:, a] - clip[:, b], axis=1) for a, b in BONES])
    limbs = [BONES.index(bone) for bone in LIMB_BONES]
    assert np.ptp(lengths[limbs], axis=1).max() < 1e-5
    assert lengths.std(axis=1).max() < 0.005
    np.testing.assert_allclose(clip[:, 7], (clip[:, 0] + clip[:, 8]) / 2, atol=0.03)


def test_bvhio_reads_the_same_joints(walking, tmp_path):
    write_rig(tmp_path / "a.bvh", walking[:5], RIGS["bandai"])
    (_, (clip,)), root = read_recording(tmp_path / "a.bvh"), bvhio.readAsHierarchy(str(tmp_path / "a.bvh"))
    nodes = {node.Name: node for node, _, _ in root.layout()}
    for frame in range(5):
        root.loadPose(frame)
        for name, joint in (("Hand_L", "left_wrist"), ("LowerLeg_R", "right_knee"), ("Neck", "thorax")):
            x, y, z = nodes[name].PositionWorld
            np.testing.assert_allclose(100 * clip[frame, JOINTS.index(joint)], [x, -z, y], atol=1e-3)


def test_an_exported_walk_is_read_back_within_a_millimetre(walking, tmp_path):
    write_bvh(motion_of(walking), tmp_path / "a.bvh")
    _, (clip,) = read_recording(tmp_path / "a.bvh")
    np.testing.assert_allclose(clip, walking, atol=1e-3)


def test_a_hierarchy_from_the_neck_down_has_a_spine_halfway_to_the_pelvis(tmp_path):
    bones = [("Neck", "0 150 0"), ("Hips", "0 -50 0")]
    for side, sign in (("Left", 1), ("Right", -1)):
        bones += [(f"{side}UpLeg", f"{9 * sign} 0 0"), (f"{side}Leg", "0 -45 0"), (f"{side}Foot", "0 -45 0")]
    text = "ROOT Neck\n{\nOFFSET 0 150 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
    for chain in (bones[1:5], bones[5:]):
        text += "".join(f"JOINT {name}\n{{\nOFFSET {offset}\nCHANNELS 0\n" for name, offset in chain)
        text += "}\n" * 3
    text += "}\n"
    for side, sign in (("Left", 1), ("Right", -1)):
        arm = [("Arm", f"{18 * sign} -5 0"), ("ForeArm", f"{30 * sign} 0 0"), ("Hand", f"{25 * sign} 0 0")]
        text += "".join(f"JOINT {side}{name}\n{{\nOFFSET {offset}\nCHANNELS 0\n" for name, offset in arm) + "}\n" * 3
    text += "JOINT Head\n{\nOFFSET 0 10 0\nCHANNELS 0\n}\n}\nMOTION\nFrames: 2\nFrame Time: 0.01\n0 0 0\n0 1 0\n"
    (tmp_path / "a.bvh").write_text(f"HIERARCHY\n{text}")
    _, (clip,) = read_recording(tmp_path / "a.bvh")
    np.testing.assert_allclose(clip[:, 7], (clip[:, 0] + clip[:, 8]) / 2, atol=1e-6)


def test_a_rest_pose_before_the_motion_is_left_out(walking, tmp_path):
    path = tmp_path / "a.bvh"
    write_rig(path, walking, RIGS["mixamo"])
    _, (expected,) = read_recording(path)
    lines = path.read_text().replace(f"Frames: {len(walking)}", f"Frames: {len(walking) + 1}").splitlines()
    first = len(lines) - len(walking)
    lines[first:first] = [" ".join(["0"] * len(lines[-1].split()))]
    path.write_text("\n".join(lines))
    np.testing.assert_array_equal(read_recording(path)[1][0], expected)


def test_a_person_who_lies_all_the_time_has_the_up_axis_of_the_rest_pose(walking, tmp_path):
    lying = walking @ Rotation.from_euler("y", 90, degrees=True).as_matrix().T
    true = write_rig(tmp_path / "a.bvh", lying, RIGS["mixamo"])
    tree, (clip,) = read_recording(tmp_path / "a.bvh")
    assert tree.about.endswith("cm, y up")
    np.testing.assert_allclose(clip[:, 3], true["right_ankle"], atol=1e-5)


@pytest.mark.parametrize("step", ["0.0083333", "0.00833", "0.033367"])
def test_rounded_frame_times_are_whole_rates(step, walking, tmp_path):
    path = tmp_path / "a.bvh"
    write_rig(path, walking[:9], RIGS["cmu"])
    path.write_text(path.read_text().replace("0.016667", step))
    rate = {"0.033367": 1 / 0.033367}.get(step, 120)
    assert read_recording(path)[0]["fps"] == rate


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("LeftForeArm", "Wing", "no joint found for left_elbow; the file has the names Hips, Spine, "),
        ("ROOT", "JOINT", "line 2: 'JOINT Hips' is not expected here"),
        ("JOINT", "ROOT", "line 6: 'ROOT Spine' is not expected here"),
        ("HIERARCHY\r\n", "HIERARCHY\r\n}\r\n", "line 2: '}' is not expected here"),
        ("OFFSET 0.000000", "OFFSET x", "line 4: 'x' is not a number below 1e9"),
        ("OFFSET 0.000000", "OFFSET nan", "line 4: 'nan' is not a number below 1e9"),
        ("OFFSET 0.000000 ", "OFFSET ", "line 4: 'OFFSET 0.000000 0.000000' is not expected here"),
        ("CHANNELS 6", "CHANNELS 5", "line 5: 'CHANNELS 5 Xposition"),
        ("Xposition", "Xscale", "line 5: CHANNELS .*: expected one CHANNELS line per joint"),
        ("Xposition", "Yposition", "line 5: CHANNELS .*: expected one CHANNELS line per joint"),
        ("MOTION", "MOTION now", "'MOTION now' is not expected here"),
        ("Frames: 9", "Frames: 8", "8 frames of 60 numbers are declared, but more frames of 60 numbers follow"),
        ("Frames: 9", "Frames: 10", "10 frames of 60 numbers are declared, but 9 frames"),
        ("Frames: 9", "Frames: 99999999", "99999999 frames of 60 numbers are declared, but the file has"),
        ("Frames: 9", "Frames: -1", "expected at least one frame"),
        ("Frames: 9", "Frames: many", "'many' is not a number"),
        ("Frame Time: 0.016667", "Frame Time: 0", "0.001 to 10 seconds per frame"),
        ("Frame Time", "Time", "expected Frame Time: NUMBER, found"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_the_line(old, new, reason, walking, tmp_path):
    path = tmp_path / "a.bvh"
    write_rig(path, walking[:9], RIGS["cmu"])
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))
    with pytest.raises(InputError, match=f"a.bvh: .*{reason}"):
        read_recording(path)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nan", "frame 3 has a value that is not"),
        ("1e300", "frame 3 has"),
        ("1,5", "could not convert"),
        ("", "changed"),
    ],
)
def test_a_damaged_frame_is_refused_with_its_number(value, reason, walking, tmp_path):
    path = tmp_path / "a.bvh"
    write_rig(path, walking[:9], RIGS["cmu"])
    lines = path.read_text().splitlines()
    lines[-6] = f"{value} {lines[-6].split(' ', 1)[1]}"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"a.bvh: .*{reason}"):
        read_recording(path)


def test_a_body_of_no_human_size_is_refused(walking, tmp_path):
    write_rig(tmp_path / "a.bvh", walking * 300, RIGS["mixamo-plain"])
    with pytest.raises(InputError, match=r"a\.bvh: the body is \d+\.\d units tall .*not a human size in inches, "):
        read_recording(tmp_path / "a.bvh")


def test_a_file_of_many_joints_is_refused(tmp_path):
    (tmp_path / "a.bvh").write_text("HIERARCHY\nROOT a\n" + "{\nJOINT b\n" * 2000)
    with pytest.raises(InputError, match=r"line 2002: 'JOINT b' is not expected here; .* at most 1000 joints"):
        read_recording(tmp_path / "a.bvh")


@pytest.mark.parametrize("frames", [17, 32, 60])
def test_the_layout_of_arrays_has_no_effect(frames, walking, tmp_path):
    write_rig(tmp_path / "walk.bvh", walking[:frames], RIGS["mixamo"])
    files = find_motion_files(tmp_path / "walk.bvh")
    for layout in Layout:
        (plan,) = plan_reading(files, IngestParameters(layout=layout)).files
        assert plan.layout is Layout.FRAMES_FIRST
