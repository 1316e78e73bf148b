"""Scores against marker truth: each is known for a truth that was changed in a known way."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_contracts.motion.marker_truth import H36M_OF_TRUTH
from data_contracts.motion.video_scores import VideoScores, mean_scores
from model.scoring.real_video import score_clip

FPS = 60.0
PATH = ("skating_mm_s", "penetration_mm", "ankle_height_mm", "root_path_mm")


@pytest.fixture
def truth(walking):
    """Joints (frames, 12, 3) of a person who walks on the floor z = 0, and turns."""
    return walking[:, H36M_OF_TRUTH].astype(np.float64)


@pytest.fixture
def standing(truth):
    """The same pose in 90 frames; both ankles are 80 mm above the floor."""
    pose = truth[:1].copy()
    pose[:, [2, 5], 2] = 0.08
    return np.repeat(pose, 90, axis=0)


def from_hips(joints):
    return joints - joints[:, [0, 3]].mean(axis=1, keepdims=True)


def mean_length(vectors):
    return 1000 * np.linalg.norm(vectors, axis=-1).mean()


def test_the_truth_has_no_error(truth):
    scores = score_clip(truth, truth, FPS)
    assert scores.frames == len(truth)
    for name in ("mpjpe_yaw_mm", "mpjpe_rotation_mm", "p_mpjpe_mm", "knee_deg", "root_path_mm", "penetration_mm"):
        assert getattr(scores, name) == pytest.approx(0, abs=1e-4), name
    assert 0 < scores.skating_mm_s < 100
    assert 40 < scores.ankle_height_mm < 150


def test_yaw_and_place_are_free(truth):
    moved = truth @ Rotation.from_euler("z", 130, degrees=True).as_matrix().T + [3, -2, 0]
    scores, true = score_clip(moved, truth, FPS), score_clip(truth, truth, FPS)
    assert scores.values() == pytest.approx(true.values(), abs=1e-4)


def test_a_leaning_world_is_an_error_with_one_yaw_only(truth):
    lean = Rotation.from_euler("x", 6, degrees=True).as_matrix()
    scores = score_clip(truth @ lean.T, truth, FPS)
    assert scores.lean_deg == pytest.approx(6)
    assert scores.mpjpe_rotation_mm == pytest.approx(0, abs=1e-6)
    upright = from_hips(truth)
    assert scores.mpjpe_yaw_mm == pytest.approx(mean_length(upright @ lean.T - upright), rel=0.01)  # no yaw helps


def test_size_is_an_error_except_for_p_mpjpe(truth):
    scores = score_clip(1.1 * truth, truth, FPS)
    expected = 0.1 * mean_length(from_hips(truth))
    assert scores.mpjpe_yaw_mm == pytest.approx(expected)
    assert scores.mpjpe_rotation_mm == pytest.approx(expected)
    assert scores.p_mpjpe_mm == pytest.approx(0, abs=1e-4)
    assert scores.knee_deg == pytest.approx(0, abs=1e-4)


def test_a_bent_knee_is_measured_in_degrees(standing):
    straight = standing.copy()
    straight[:, [1, 2]] = straight[:, [0]] - np.array([[0, 0, 0.4], [0, 0, 0.8]])  # right leg
    bent = straight.copy()
    bent[:, 2] = bent[:, 1] + 0.4 * np.array([0, np.sin(np.deg2rad(20)), -np.cos(np.deg2rad(20))])
    assert score_clip(bent, straight, FPS).knee_deg == pytest.approx(10)  # 20 degrees right, 0 left


def test_a_standing_person_who_drifts_skates(standing):
    seconds = np.arange(len(standing)) / FPS
    drifting = standing + seconds[:, None, None] * [0.03, 0.04, 0]
    scores = score_clip(drifting, standing, FPS)
    assert scores.skating_mm_s == pytest.approx(50)
    assert scores.ankle_height_mm == pytest.approx(80)
    assert scores.root_path_mm == pytest.approx(50 * np.abs(seconds - seconds.mean()).mean())
    assert scores.mpjpe_yaw_mm == pytest.approx(0, abs=1e-4)


def test_feet_that_move_or_are_high_are_not_in_contact(standing):
    seconds = (np.arange(len(standing)) / FPS)[:, None, None]
    assert score_clip(standing, standing + 0.2 * seconds * [1, 0, 0], FPS).skating_mm_s is None
    assert score_clip(standing, standing + np.array([0, 0, 0.1]), FPS).skating_mm_s is None
    walks = standing.copy()
    walks[:, 2] += 0.2 * seconds[:, 0] * [1, 0, 0]  # the right foot moves in truth, the left one does not
    lifted = standing.copy()
    lifted[:, 2] += 0.5 * seconds[:, 0] * [1, 0, 0]
    assert score_clip(lifted, walks, FPS).skating_mm_s == pytest.approx(0)


def test_the_lowest_joint_is_below_the_floor(standing):
    lowered = standing - [0, 0, 0.1]
    lowered[::2, 5, 2] -= 0.03
    scores = score_clip(lowered, standing, FPS)
    assert scores.penetration_mm == pytest.approx((20 + 50) / 2)
    assert scores.ankle_height_mm == pytest.approx(-20 - 30 / 4, abs=0.2)


def test_frames_without_truth_or_motion_are_not_scored(truth):
    moved, target = truth + np.array([0.5, 0, 0]), truth.copy()
    moved[:7], target[20:25] = np.nan, np.nan
    scores = score_clip(moved, target, FPS)
    assert scores.frames == len(truth) - 12
    assert scores.mpjpe_rotation_mm == pytest.approx(0, abs=1e-4)
    assert scores.root_path_mm == pytest.approx(0, abs=1e-4)


def test_a_motion_without_path_has_no_scores_of_feet_floor_and_path(truth):
    scores = score_clip(from_hips(truth), truth, FPS, has_path=False)
    assert [getattr(scores, name) for name in PATH] == [None] * 4
    assert scores.mpjpe_yaw_mm == pytest.approx(0, abs=1e-4)
    assert scores.cells()[-4:] == [""] * 4


def test_the_mean_over_clips_ignores_unknown_scores(truth):
    with_path, without = score_clip(1.1 * truth, truth, FPS), score_clip(truth, truth, FPS, has_path=False)
    mean = mean_scores([with_path, without])
    assert mean.frames == 2 * len(truth)
    assert mean.mpjpe_yaw_mm == pytest.approx(with_path.mpjpe_yaw_mm / 2)
    assert mean.root_path_mm == with_path.root_path_mm
    assert mean_scores([without]).root_path_mm is None
    assert list(VideoScores.titles()) == list(VideoScores.model_fields)
