"""The Python API: an array and its file give the same motion, faults are repaired, and errors name what is wrong."""

from pathlib import Path

import numpy as np
import pytest

import pose_uplift
from data_contracts.motion.motion import read_motion

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lifter():
    return pose_uplift.load_lifter()


@pytest.fixture(scope="module")
def keypoints():
    """Keypoints (150, 17, 3) of the bundled example."""
    from data_contracts.parameters import KeypointsParameters
    from data_contracts.sources import find_keypoints
    from tasks.lifting.formats.reading import read_keypoints

    (video,), _ = read_keypoints(find_keypoints(ROOT / "examples/walking.json"), KeypointsParameters())
    return np.concatenate([video.points, video.confidence[..., None]], axis=-1)


def test_array_and_file_give_the_same_motion(keypoints, lifter):
    (of_file,) = pose_uplift.lift_file(ROOT / "examples/walking.json", fps=30, lifter=lifter)
    of_array = pose_uplift.lift(keypoints, fps=30, skeleton="coco17", lifter=lifter)
    assert of_array.joints == pytest.approx(of_file.joints, abs=1e-5)


def test_frames_of_motion_are_those_of_the_array(keypoints, lifter):
    gaps = keypoints.copy()
    gaps[:5] = gaps[60:90] = np.nan
    motion = pose_uplift.lift(gaps, fps=30, lifter=lifter, fit=False)
    whole = pose_uplift.lift(keypoints, fps=30, lifter=lifter, fit=False)
    assert motion.frames == len(keypoints)
    assert np.linalg.norm(motion.pose_3d - whole.pose_3d, axis=-1)[10:50].mean() < 0.03
    assert (motion.confidence[60:90] == 0).all()


def test_exchanged_sides_are_repaired(keypoints, lifter):
    wrong = keypoints.copy()
    wrong[70:80] = wrong[70:80, [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]]
    options = {"fps": 30, "skeleton": "coco17", "lifter": lifter, "fit": False}
    error = pose_uplift.lift(wrong, **options).pose_3d - pose_uplift.lift(keypoints, **options).pose_3d
    assert np.linalg.norm(error, axis=-1).max() < 0.1


def test_options_are_those_of_lift(keypoints, lifter):
    short, tall = (pose_uplift.lift(keypoints, lifter=lifter, fit=False, height=height) for height in (1.5, 1.8))
    ratio = np.linalg.norm(tall.pose_3d, axis=-1).mean() / np.linalg.norm(short.pose_3d, axis=-1).mean()
    assert ratio == pytest.approx(1.8 / 1.5, rel=0.01)


def test_options_of_keypoints_are_taken(keypoints, lifter):
    gaps = keypoints.copy()
    gaps[60:66] = np.nan
    short, long = (pose_uplift.lift(gaps, lifter=lifter, fit=False, max_gap=gap) for gap in (3, 10))
    assert (short.confidence[60:66] == 0).all()
    assert (long.confidence[60:66] > 0).any()


def test_assumptions_are_warnings(keypoints, lifter, caplog):
    pose_uplift.lift(keypoints, lifter=lifter, fit=False)
    assert any(line.startswith("height: 1.70 m assumed") for line in caplog.messages)
    assert any(line.startswith("frame rate: 30 fps assumed") for line in caplog.messages)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda points: points[0], {}, r"shape \(17, 3\); expected \(frames, K, 2 or 3\)"),
        (lambda points: points[:0], {}, "expected"),
        (lambda points: points[:, :5], {}, "5 keypoints per person"),
        (lambda points: np.full_like(points, np.nan), {}, "no joint|no keypoint|ambiguous"),
        (lambda points: points, {"hieght": 1.7}, "hieght: Extra inputs"),
        (lambda points: points, {"height": 17}, "height"),
        (lambda points: points, {"skeleton": "body25"}, "body25"),
        (lambda points: points, {"size": (0, 100)}, "width"),
    ],
)
def test_wrong_arguments_are_refused(keypoints, lifter, change, options, message):
    with pytest.raises(pose_uplift.InputError, match=message):
        pose_uplift.lift(change(keypoints), lifter=lifter, **options)


def test_missing_file_and_model_are_refused(tmp_path):
    with pytest.raises(pose_uplift.InputError, match=r"nothing\.json"):
        pose_uplift.lift_file(tmp_path / "nothing.json")
    with pytest.raises(pose_uplift.InputError, match=r"none\.safetensors"):
        pose_uplift.load_lifter(tmp_path / "none.safetensors")


def test_save_writes_the_format_of_the_extension(keypoints, lifter, tmp_path):
    motion = pose_uplift.lift(keypoints, lifter=lifter, fit=False)
    assert read_motion(motion.save(tmp_path / "motion.npz")).joints == pytest.approx(motion.joints)
    assert (tmp_path / "walk.BVH") == motion.save(tmp_path / "walk.BVH")
    assert (tmp_path / "walk.BVH").read_text().startswith("HIERARCHY")
    with pytest.raises(pose_uplift.InputError, match="unknown format 'fbx'"):
        motion.save(tmp_path / "walk.fbx")
    with pytest.raises(pose_uplift.InputError, match="No such file"):
        motion.save(tmp_path / "missing" / "walk.bvh")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["motion.npz", "walk.BVH"]
