"""Arrays of other skeletons are recognised by their number of joints and become the 17 joints."""

from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, Layout
from data_contracts.skeleton import JOINTS
from data_contracts.sources import find_motion_files
from tasks.ingest.layouts import to_frames_first
from tasks.ingest.plan import plan_reading

CASES = Path(__file__).parents[3] / "data" / "cases" / "ingest_misleading_refusals"

# names of the data sets' documentation
_LIMBS = ("shoulder", "elbow", "wrist", "hand")
SMPL = ["pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle"]
SMPL += ["spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head"]
SMPL += [f"{side}_{part}" for part in _LIMBS for side in ("left", "right")]
MPI = ["spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top"]
MPI += [f"{side}_{part}" for side in ("left", "right") for part in ("clavicle", *_LIMBS)]
MPI += [f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "foot", "toe")]


def arranged(walking: np.ndarray, names: list[str], renamed: dict[str, str]) -> np.ndarray:
    """Return (frames, names, 3) with the joints of a walk; joints that the skeleton does not have are far away."""
    poses = np.full((len(walking), len(names), 3), 1e3)
    for index, name in enumerate(names):
        if (joint := renamed.get(name, name)) in JOINTS:
            poses[:, index] = walking[:, JOINTS.index(joint)]
    return poses


def smpl(walking: np.ndarray, joints: int) -> np.ndarray:
    poses = arranged(walking, SMPL[:joints], {"neck": "thorax"})
    right = walking[:, 14] - walking[:, 11]
    forward = np.cross([0, 0, 1], right / np.linalg.norm(right, axis=-1, keepdims=True))
    poses[:, SMPL.index("head")] = walking[:, 8] + [0, 0, 0.065] + 0.051 * forward  # SMPL's mean body
    return poses


@pytest.mark.parametrize("joints", [22, 24])
@pytest.mark.parametrize("layout", [Layout.FRAMES_FIRST, Layout.JOINTS_FIRST])
def test_smpl_becomes_the_17_joints(layout, joints, walking):
    poses = smpl(walking, joints)
    clip = to_frames_first(poses if layout is Layout.FRAMES_FIRST else poses.transpose(1, 0, 2), layout)
    limbs = [JOINTS.index(joint) for joint in JOINTS if joint.startswith(("left", "right"))]
    np.testing.assert_array_equal(clip[:, limbs], walking[:, limbs])
    np.testing.assert_array_equal(clip[:, 8], walking[:, 8])
    np.testing.assert_allclose(clip[:, [9, 10]], walking[:, [9, 10]], atol=0.11)
    nose, crown = (np.median(clip[:, index] - clip[:, 8], axis=0) for index in (9, 10))
    assert crown[2] > 2 * nose[2] > 0


def test_3dhp_becomes_the_17_joints(walking):
    renamed = {"neck": "thorax", "head": "nose", "head_top": "head"}
    clip = to_frames_first(arranged(walking, MPI, renamed), Layout.FRAMES_FIRST)
    np.testing.assert_array_equal(clip, walking)


def test_the_camera_axes_and_millimetres_of_3dhp_are_recognised(walking, tmp_path):
    camera = (walking @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])) * 1000  # y down
    np.save(tmp_path / "a.npy", arranged(camera, MPI, {"neck": "thorax", "head": "nose", "head_top": "head"}))
    with pytest.raises(InputError, match=r"pass --set ingest\.unit=mm"):
        plan_reading(find_motion_files(tmp_path), IngestParameters())
    with pytest.raises(InputError, match=r"pass --set ingest\.up=-y"):
        plan_reading(find_motion_files(tmp_path), IngestParameters(unit="mm"))
    (plan,) = plan_reading(find_motion_files(tmp_path), IngestParameters(unit="mm", up="-y")).files
    assert plan.about == "MPI-INF-3DHP"


@pytest.mark.parametrize(
    ("turn", "parameters", "remedy"),
    [
        (np.eye(3), {}, None),
        (np.diag([1, -1, -1]), {"up": "-z"}, "pass --set ingest.up=-z"),
        (1000 * np.eye(3), {"unit": "mm"}, "pass --set ingest.unit=mm"),
    ],
)
def test_the_order_of_coco_is_recognised_in_any_direction_and_unit(turn, parameters, remedy, tmp_path):
    np.save(tmp_path / "a.npy", np.load(CASES / "coco_order.npy") @ turn)
    if remedy:
        with pytest.raises(InputError, match=remedy):
            plan_reading(find_motion_files(tmp_path), IngestParameters())
    assert plan_reading(find_motion_files(tmp_path), IngestParameters(**parameters)).files[0].about == "COCO"


def test_a_file_of_humanml3d_is_named_with_its_frame_rate(walking, tmp_path):
    np.save(tmp_path / "000001.npy", smpl(walking, 22))
    plan = plan_reading(find_motion_files(tmp_path), IngestParameters())
    assert plan.files[0].about == "the body of SMPL, as in HumanML3D"
    assert any("HumanML3D, which has 20 frames per second; ingest.fps is 60" in line for line in plan.warnings)
    assert not any(
        "HumanML3D" in line for line in plan_reading(find_motion_files(tmp_path), IngestParameters(fps=20)).warnings
    )


def test_24_joints_in_another_order_are_refused(walking, tmp_path):
    np.save(tmp_path / "a.npy", walking[:, np.arange(24) % 17])
    with pytest.raises(
        InputError, match="limbs and trunk do not fit the order of joints of SMPL; reorder the joints to"
    ):
        plan_reading(find_motion_files(tmp_path), IngestParameters())


def test_a_clip_of_17_joints_and_24_frames_is_not_smpl(walking):
    clip = walking[:24].transpose(1, 0, 2)
    np.testing.assert_array_equal(to_frames_first(clip, Layout.JOINTS_FIRST), walking[:24])


def test_an_empty_clip_stays_empty():
    assert to_frames_first(np.zeros((0, 22, 3)), Layout.FRAMES_FIRST).shape == (0, 17, 3)


def test_a_clip_of_32_frames_and_22_joints_takes_the_declared_layout(walking, tmp_path):
    np.save(tmp_path / "walk.npy", smpl(walking[:32], 22))
    files = find_motion_files(tmp_path / "walk.npy")
    (plan,) = plan_reading(files, IngestParameters(layout=Layout.FRAMES_FIRST, fps=20)).files
    assert (plan.layout, plan.about) == (Layout.FRAMES_FIRST, "the body of SMPL, as in HumanML3D")
    with pytest.raises(InputError, match=r"ingest\.layout"):
        plan_reading(files, IngestParameters())
