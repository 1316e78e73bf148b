"""Scores of a benchmark: each is known for a truth that was changed in a known way, or for a flat lifter."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_contracts.benchmarks.clips import BenchmarkClip
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import JOINTS
from model.scoring.benchmarks import score_clip, score_poses
from tests.model.lifting.walkers import before_a_camera, flat_lifter, stature

ALL = list(range(17))
ERRORS = ("mpjpe_mm", "distance_mpjpe_mm", "n_mpjpe_mm", "p_mpjpe_mm")


@pytest.fixture(scope="module")
def truth(walking):
    return before_a_camera(walking)


def relative(joints):
    return joints - joints[:, :1]


def mean_mm(vectors):
    return 1000 * np.linalg.norm(vectors, axis=-1).mean()


def test_the_truth_has_no_error_wherever_it_is(truth):
    scores = score_poses(relative(truth), truth + 3, truth, ALL)
    assert [getattr(scores, name) for name in ERRORS] == pytest.approx([0] * 4, abs=1e-3)
    assert scores.pck_150 == scores.auc_150 == 1
    assert scores.frames == len(truth)


def test_size_rotation_and_distance_are_errors_of_their_own_scores(truth):
    rotation = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    scores = score_poses(1.1 * relative(truth), 0.8 * relative(truth), truth, ALL)
    assert scores.mpjpe_mm == pytest.approx(0.1 * mean_mm(relative(truth)))
    assert scores.distance_mpjpe_mm == pytest.approx(0.2 * mean_mm(relative(truth)))
    assert scores.n_mpjpe_mm == pytest.approx(0, abs=1e-3)
    turned = score_poses(relative(truth) @ rotation, relative(truth) @ rotation, truth, ALL)
    assert turned.mpjpe_mm == pytest.approx(mean_mm(relative(truth) @ rotation - relative(truth)))
    assert turned.p_mpjpe_mm == pytest.approx(0, abs=1e-3)


def test_joints_that_the_protocol_does_not_score_have_no_effect(truth):
    joints = PROTOCOLS[Benchmark.MPI_INF_3DHP].indices
    moved = truth.copy()
    moved[:, [JOINTS.index(name) for name in ("spine", "nose")]] += 1.0
    assert score_poses(moved, moved, truth, joints).mpjpe_mm == pytest.approx(0, abs=1e-3)
    assert score_poses(moved, moved, truth, ALL).mpjpe_mm == pytest.approx(1000 * np.sqrt(3) * 2 / 17)
    moved = truth.copy()
    moved[:, 0] += 0.05  # the pelvis is the root, so all other joints move
    assert score_poses(moved, moved, truth, joints).mpjpe_mm == pytest.approx(50 * np.sqrt(3))


def test_a_share_of_joints_within_150_mm_is_counted(truth):
    moved = truth.copy()
    moved[:, [3, 6]] += [0.2, 0, 0]
    moved[:, [13]] += [0.0, 0.1, 0]
    scores = score_poses(moved, moved, truth, PROTOCOLS[Benchmark.THREE_DPW].indices)
    assert scores.pck_150 == pytest.approx(12 / 14)
    assert scores.mpjpe_mm == pytest.approx((200 + 200 + 100) / 14)


def flat_clip(walking, frames):
    """Return a clip of a person who is flat and parallel to the image, in motion."""
    position = np.array([0.4, -0.2, 6.0])
    flat = relative(walking[frames][..., [0, 2, 1]].astype(np.float64) * [1, -1, 0]) + position
    keypoints = np.concatenate([flat[..., :2] / flat[..., 2:], np.ones((*flat.shape[:2], 1))], axis=-1)
    scored = np.arange(len(flat)) >= 10
    return BenchmarkClip("", "", "", 60.0, keypoints.astype(np.float32), flat.astype(np.float32), scored)


def test_a_lifted_clip_has_the_given_height_or_the_size_of_its_image(walking):
    """A flat lifter returns the image, so the error of a flat person is small."""
    clip = flat_clip(walking, slice(30))
    tall, low = (
        score_clip(flat_lifter(), clip, ALL, LiftParameters(height=share * stature(clip.truth))) for share in (1, 0.8)
    )
    assert tall.frames == low.frames == 20
    assert tall.distance_mpjpe_mm == pytest.approx(low.distance_mpjpe_mm)
    assert tall.distance_mpjpe_mm < 20  # the camera is turned to the person, so the person is not quite parallel
    assert tall.mpjpe_mm < 25
    assert low.mpjpe_mm == pytest.approx(0.2 * mean_mm(relative(clip.truth)[clip.scored]), rel=0.1)


def test_frames_without_keypoints_have_the_pose_of_their_neighbours(walking):
    still = flat_clip(walking, [0] * 90)
    keypoints = still.keypoints.copy()
    keypoints[30:70] = keypoints[80:] = 0
    lifter = flat_lifter(window=1)
    gap = score_clip(lifter, replace(still, keypoints=keypoints), ALL, LiftParameters())
    whole = score_clip(lifter, still, ALL, LiftParameters())
    assert gap.frames == 80
    assert gap.mpjpe_mm == pytest.approx(whole.mpjpe_mm, abs=0.5)
