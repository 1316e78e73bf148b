"""Path of the root: a true pose gives the true path, and the standard deviation matches the error."""

import numpy as np
import pytest

from model.lifting.translation import find_root
from tests.model.lifting.walkers import CAMERA, before_a_camera, seen

NO_CUTOFFS, CUTOFFS = None, (6.0, 0.5)


def parts(joints, noise_px=0.0, seed=0):
    """Return pose, rays, confidence and size of a walk."""
    keypoints = seen(joints).astype(np.float64)
    keypoints[..., :2] += noise_px * np.random.default_rng(seed).normal(size=keypoints[..., :2].shape)
    return joints - joints[:, :1], CAMERA.rays(keypoints[..., :2]), keypoints[..., 2], 1 / joints[:, 0, 2]


@pytest.mark.parametrize("camera", ["auto", "perspective"])
def test_true_path_is_recovered(walking, camera):
    joints = before_a_camera(walking, aside=0.3)
    pose, rays, confidence, size = parts(joints)
    found = find_root(pose, rays, confidence, size, 60.0, camera, NO_CUTOFFS)
    np.testing.assert_allclose(found.position, joints[:, 0], atol=2e-3)
    assert found.camera == "perspective"


def test_missing_joints_have_no_weight_and_empty_frames_are_interpolated(walking):
    joints = before_a_camera(walking)
    pose, rays, confidence, size = parts(joints)
    confidence[:, 10:] = 0
    confidence[40:44] = 0
    rays[confidence == 0] = CAMERA.rays(np.zeros(2))
    found = find_root(pose, rays, confidence, size, 60.0, "auto", NO_CUTOFFS)
    np.testing.assert_allclose(found.position, joints[:, 0], atol=0.02)
    assert np.isinf(found.std[40:44, 2]).all()


def test_weak_perspective_takes_the_distance_from_the_size(walking):
    joints = before_a_camera(walking, distance=12.0)
    pose, rays, confidence, size = parts(joints)
    found = find_root(pose, rays, confidence, size, 60.0, "weak", NO_CUTOFFS)
    assert found.camera == "weak"
    np.testing.assert_allclose(found.position[:, 2], joints[:, 0, 2], rtol=1e-6)
    np.testing.assert_allclose(found.position[:, :2], joints[:, 0, :2], atol=0.05)


def test_pose_that_does_not_fit_falls_back_to_weak_perspective(walking):
    joints = before_a_camera(walking)
    pose, rays, confidence, size = parts(joints)
    found = find_root(pose * (-1, 1, 1), rays, confidence, size, 60.0, "auto", NO_CUTOFFS)
    far_off = np.abs(found.position[:, 2] - joints[:, 0, 2])
    assert np.isfinite(found.position).all()
    assert found.camera == "weak" or far_off.max() < 5


@pytest.mark.parametrize("noise_px", [2.0, 6.0])
def test_standard_deviation_matches_the_error(walking, noise_px):
    joints = before_a_camera(walking)
    pose, rays, confidence, size = parts(joints, noise_px)
    found = find_root(pose, rays, confidence, size, 60.0, "perspective", NO_CUTOFFS)
    error = np.sqrt(np.mean((found.position[:, 2] - joints[:, 0, 2]) ** 2))
    assert 0.5 < error / np.sqrt(np.mean(found.std[:, 2] ** 2)) < 2


def test_smoothing_reduces_the_error_of_the_distance(walking):
    joints = before_a_camera(walking)
    rough, smooth = (
        find_root(*parts(joints, 6.0), 60.0, "perspective", cutoffs).position for cutoffs in (NO_CUTOFFS, CUTOFFS)
    )
    assert np.abs(smooth - joints[:, 0]).mean() < 0.6 * np.abs(rough - joints[:, 0]).mean()


def test_track_without_keypoints_has_no_path(walking):
    joints = before_a_camera(walking)
    pose, rays, confidence, _ = parts(joints)
    found = find_root(pose, rays, 0 * confidence, np.full(len(pose), np.nan), 60.0, "auto", CUTOFFS)
    assert found.camera == "none"
    assert (found.position == 0).all()
    assert np.isinf(found.std).all()
