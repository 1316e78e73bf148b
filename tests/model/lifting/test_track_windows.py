"""Blended windows: no seams, no effect of the image edge, and a constant size for any length."""

from typing import NamedTuple

import numpy as np
import pytest

from data_contracts.skeleton import JOINTS
from model.lifting.track_windows import lift_track, with_missing_estimated
from tests.model.lifting.walkers import CAMERA, before_a_camera, flat_lifter, seen

STRIDE = 3


class Lifted(NamedTuple):
    pose: np.ndarray
    size: np.ndarray


def lift(joints, window=9, stride=STRIDE, batch_size=64):
    return Lifted(*lift_track(flat_lifter(window), seen(joints), CAMERA, stride, batch_size))


def still(joints, frames):
    return np.repeat(joints[:1], frames, axis=0)


@pytest.mark.parametrize("frames", [1, 4, 9, 10, 11, 29])
def test_still_person_has_the_same_pose_in_every_frame(walking, frames):
    lifted = lift(still(before_a_camera(walking), frames))
    assert lifted.pose.shape == (frames, 17, 3)
    np.testing.assert_allclose(lifted.pose, lifted.pose[:1].repeat(frames, 0), atol=1e-5)
    np.testing.assert_allclose(lifted.size, lifted.size[0], rtol=1e-5)
    assert (lifted.pose[:, 0] == 0).all()


def test_batch_size_and_stride_do_not_change_agreeing_windows(walking):
    joints = still(before_a_camera(walking), 40)
    whole = lift(joints)
    for other in (lift(joints, batch_size=1), lift(joints, stride=1), lift(joints, stride=9)):
        np.testing.assert_allclose(other.pose, whole.pose, atol=1e-5)


def test_windows_have_no_seams(walking):
    """Windows differ in size when the body turns; steps between frames are not larger at the end of a window."""
    lifted = lift(before_a_camera(walking), window=27, stride=9)
    acceleration = np.linalg.norm(np.diff(lifted.pose, n=2, axis=0), axis=-1).max(axis=1)
    single = lift(before_a_camera(walking), window=27, stride=27)
    seams = np.linalg.norm(np.diff(single.pose, n=2, axis=0), axis=-1).max(axis=1)
    assert acceleration.max() < seams.max()
    assert acceleration.max() < 4 * np.median(acceleration) + 0.02


def test_person_who_walks_away_looks_smaller_and_keeps_the_same_height(walking):
    body = still(before_a_camera(walking), 60)
    away = body + np.array([0, 0, 1.0]) * np.linspace(0, 6, 60)[:, None, None]
    lifted = lift(away)
    product = (lifted.size * away[:, 0, 2])[3:-3]
    np.testing.assert_allclose(product, product[30], rtol=0.06)
    heights = np.ptp(lifted.pose[..., 1], axis=1)
    assert heights.std() < 0.02 * heights.mean()


@pytest.mark.parametrize("degrees", [-25, 10, 25])
def test_person_off_the_axis_is_lifted_like_one_on_the_axis(walking, degrees):
    joints = still(before_a_camera(walking, pitch_deg=0), 9)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    ahead, beside = lift(joints), lift(joints @ turn.T)
    np.testing.assert_allclose(beside.pose, ahead.pose @ turn.T, atol=0.02)
    assert np.abs(beside.pose - ahead.pose).max() > 0.02


def test_missing_joint_does_not_move_other_joints(walking):
    keypoints = seen(still(before_a_camera(walking), 20))
    whole = Lifted(*lift_track(flat_lifter(), keypoints, CAMERA, STRIDE, 64))
    keypoints[5:9, 16] = 0
    broken = Lifted(*lift_track(flat_lifter(), keypoints, CAMERA, STRIDE, 64))
    others = np.delete(np.arange(17), 16)
    hole = whole.pose[:, others] * whole.size[:, None, None] - broken.pose[:, others] * broken.size[:, None, None]
    assert np.abs(hole).max() < 1e-5


@pytest.mark.parametrize(
    ("missing", "most_m"),
    [
        (["nose", "head"], 0.12),
        (["left_hip", "pelvis", "spine"], 0.1),
        (["right_shoulder", "thorax", "spine", "nose", "head"], 0.2),
        (["left_ankle"], 0.5),
        (["left_knee", "right_knee", "left_ankle", "right_ankle"], 0.5),
    ],
)
def test_missing_joints_of_trunk_and_legs_are_estimated_near_their_place(walking, missing, most_m):
    joints = before_a_camera(walking)
    keypoints = seen(joints)
    places = [JOINTS.index(name) for name in missing]
    keypoints[:, places] = 0
    estimated = with_missing_estimated(keypoints)
    pixels = np.linalg.norm((estimated - seen(joints))[:, places, :2], axis=-1)
    assert (pixels * joints[:, places, 2] / CAMERA.focal).max() < most_m
    assert (estimated[:, places, 2] > 0).all()
    assert (estimated[:, places, 2] < 0.3).all()
    kept = np.delete(np.arange(17), places)
    np.testing.assert_array_equal(estimated[:, kept], keypoints[:, kept])


def test_missing_wrists_and_people_stay_missing(walking):
    keypoints = seen(before_a_camera(walking))
    keypoints[:, JOINTS.index("left_wrist")] = keypoints[3] = 0
    np.testing.assert_array_equal(with_missing_estimated(keypoints), keypoints)
