"""Videos with marker truth: their files, and the scores of lifted motion and of the detector's own 3D."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_contracts.errors import InputError
from data_contracts.motion.marker_truth import H36M_OF_TRUTH, read_truth
from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from data_contracts.sources import find_marked_videos
from tasks.evaluate.real_video import lift_video, score_motion, score_videos
from tests.model.lifting.walkers import flat_lifter
from tests.tasks.evaluate.marked_videos import FPS, write_video


@pytest.fixture
def videos(walking, tmp_path):
    write_video(tmp_path, walking)
    write_video(tmp_path, walking[:120], name="short", without_truth=range(5, 15))
    return find_marked_videos(tmp_path).videos


def reference_scores(motion, truth):
    """Return MPJPE with one yaw and with one rotation in mm, and the lean in degrees; direct formulas."""
    motion, truth = (joints - joints[:, [0, 3]].mean(axis=1, keepdims=True) for joints in (motion, truth))
    planes = [joints[..., 0] + 1j * joints[..., 1] for joints in (motion, truth)]
    turn = (planes[0].conj() * planes[1]).sum()
    plane = planes[0] * turn / abs(turn)
    yawed = np.stack([plane.real, plane.imag, motion[..., 2]], axis=-1)
    u, _, vt = np.linalg.svd(np.einsum("fji,fjk->ik", motion, truth))
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    errors = (1000 * np.linalg.norm(moved - truth, axis=-1).mean() for moved in (yawed, motion @ rotation))
    return [*errors, np.degrees(np.arccos(rotation[2, 2]))]


def test_the_truth_is_read_with_z_up(walking, videos):
    assert [video.name for video in videos] == ["short", "walk"]
    truth = read_truth(videos[1].truth)
    np.testing.assert_allclose(truth.joints, walking[:, H36M_OF_TRUTH], atol=1e-6)
    assert truth.fps == pytest.approx(FPS)
    assert np.isnan(read_truth(videos[0].truth).joints).any(axis=(1, 2)).sum() == 10


def test_a_lifted_video_has_the_scores_of_direct_formulas(videos):
    lifter, options = flat_lifter(), LiftParameters()
    motion, truth = lift_video(lifter, videos[1], options), read_truth(videos[1].truth).joints
    scores = score_videos(lifter, videos, options)["model"]
    assert motion.frames == len(truth) == scores["walk"].frames
    one = scores["walk"]
    expected = reference_scores(motion.joints[:, H36M_OF_TRUTH], truth)
    assert [one.mpjpe_yaw_mm, one.mpjpe_rotation_mm, one.lean_deg] == pytest.approx(expected)
    assert min(one.skating_mm_s, one.root_path_mm, one.knee_deg) > 0
    assert scores["short"].frames == 110
    assert scores["mean"].mpjpe_yaw_mm == pytest.approx((one.mpjpe_yaw_mm + scores["short"].mpjpe_yaw_mm) / 2)


def test_the_detector_and_the_truth_itself_are_scored_without_a_model(walking, videos):
    scores = score_videos(None, videos)
    assert list(scores) == ["detector", "markers"]
    own, markers = scores["detector"]["walk"], scores["markers"]["walk"]
    joints = walking[:, H36M_OF_TRUTH].astype(np.float64)
    size = np.linalg.norm(joints - joints[:, [0, 3]].mean(axis=1, keepdims=True), axis=-1).mean()
    assert own.mpjpe_rotation_mm == pytest.approx(0.1 * 1000 * size, rel=1e-5)
    assert own.mpjpe_yaw_mm == pytest.approx(own.mpjpe_rotation_mm, rel=1e-5)
    assert [own.p_mpjpe_mm, own.lean_deg, own.knee_deg] == pytest.approx([0, 0, 0], abs=1e-3)
    assert own.root_path_mm is None
    assert markers.mpjpe_yaw_mm == pytest.approx(0, abs=1e-6)
    assert 0 < markers.skating_mm_s < 100


def test_a_motion_that_begins_later_is_scored_in_its_own_frames(walking):
    truth = walking[:, H36M_OF_TRUTH].astype(np.float64)
    turned = walking[30:] @ Rotation.from_euler("z", 40, degrees=True).as_matrix().T
    root = turned[:, 0]
    pose = {"pose_3d": turned - root[:, None], "root": root}
    unused = {"confidence": None, "interpolated": None, "pose_2d": None}
    scores = score_motion(
        Motion("person-0", FPS, **pose, root_std=np.zeros_like(root), **unused, first_frame=30), truth, FPS
    )
    assert scores.frames == len(walking) - 30
    assert scores.mpjpe_yaw_mm == pytest.approx(0, abs=1e-3)
    assert scores.root_path_mm == pytest.approx(0, abs=1e-3)
    lost = Motion("person-0", FPS, **pose, root_std=np.full_like(root, np.inf), **unused, first_frame=30)
    assert score_motion(lost, truth, FPS).skating_mm_s is None


def test_a_clip_without_a_common_frame_is_refused_by_its_name(videos):
    with np.load(videos[1].truth) as file:
        arrays = dict(file)
    np.savez(videos[1].truth, **arrays | {"valid": np.zeros(196, bool)})
    with pytest.raises(InputError, match="walk: no frame has both a 3D pose and marker truth"):
        score_videos(None, videos)


def test_faults_of_the_folder_are_named(videos, tmp_path):
    with pytest.raises(InputError, match="nothing: no such folder"):
        find_marked_videos(tmp_path / "nothing")
    videos[0].keypoints.unlink()
    with pytest.raises(InputError, match=r"short_mediapipe.json: no such file; .* belong to short_truth.npz"):
        find_marked_videos(tmp_path)
    for video in videos:
        video.truth.unlink()
    with pytest.raises(InputError, match=r"no file CLIP_truth.npz"):
        find_marked_videos(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": np.array(["femur_l"] * 12)}, "names must be, in this order: femur_r, tibia_r"),
        ({"joints": np.zeros((3, 12, 3))}, r"joints has shape \(3, 12, 3\), expected"),
        ({"valid": np.ones(5, bool)}, r"valid has shape \(5,\), expected \(196,\)"),
        ({"time": np.zeros(196)}, "must increase over its"),
        ({"time": np.array("now")}, "cannot be read as marker truth"),
        ({"time": None}, "cannot be read as marker truth .*time"),
    ],
)
def test_faults_of_a_truth_file_are_named(videos, changed, message):
    path = videos[1].truth
    with np.load(path) as file:
        arrays = {name: array for name, array in {**file, **changed}.items() if array is not None}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        read_truth(path)
