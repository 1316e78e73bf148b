"""Windows become one track: no seams, no edge of the image, no size that breathes, whatever the length."""

import numpy as np
import pytest

from model.lifting.track_windows import lift_track
from tests.model.lifting.walkers import CAMERA, before_a_camera, flat_lifting, seen

STRIDE = 3


def lift(joints, window=9, stride=STRIDE, batch_size=64):
    return lift_track(flat_lifting(window), seen(joints), CAMERA, stride, batch_size)


def still(joints, frames):
    return np.repeat(joints[:1], frames, axis=0)


@pytest.mark.parametrize("frames", [1, 4, 9, 10, 11, 29])
def test_who_stands_still_has_one_pose_in_every_frame_of_a_track_of_any_length(walking, frames):
    lifted = lift(still(before_a_camera(walking), frames))
    assert lifted.pose.shape == (frames, 17, 3)
    np.testing.assert_allclose(lifted.pose, lifted.pose[:1].repeat(frames, 0), atol=1e-5)
    np.testing.assert_allclose(lifted.size, lifted.size[0], rtol=1e-5)
    assert (lifted.pose[:, 0] == 0).all()


def test_batches_and_strides_are_of_no_consequence_where_windows_agree(walking):
    joints = still(before_a_camera(walking), 40)
    whole = lift(joints)
    for other in (lift(joints, batch_size=1), lift(joints, stride=1), lift(joints, stride=9)):
        np.testing.assert_allclose(other.pose, whole.pose, atol=1e-5)


def test_no_frame_is_a_seam(walking):
    """Windows disagree in size by how the body turns; a frame's step is no larger where a window ends."""
    lifted = lift(before_a_camera(walking), window=27, stride=9)
    acceleration = np.linalg.norm(np.diff(lifted.pose, n=2, axis=0), axis=-1).max(axis=1)
    single = lift(before_a_camera(walking), window=27, stride=27)
    seams = np.linalg.norm(np.diff(single.pose, n=2, axis=0), axis=-1).max(axis=1)
    assert acceleration.max() < seams.max()
    assert acceleration.max() < 4 * np.median(acceleration) + 0.02


def test_who_goes_away_looks_smaller_and_stays_as_tall(walking):
    body = still(before_a_camera(walking), 60)
    away = body + np.array([0, 0, 1.0]) * np.linspace(0, 6, 60)[:, None, None]
    lifted = lift(away)
    product = (lifted.size * away[:, 0, 2])[3:-3]
    np.testing.assert_allclose(product, product[30], rtol=0.06)
    heights = np.ptp(lifted.pose[..., 1], axis=1)
    assert heights.std() < 0.02 * heights.mean()


@pytest.mark.parametrize("degrees", [-25, 10, 25])
def test_who_is_beside_the_axis_is_lifted_as_one_on_it_and_turned(walking, degrees):
    joints = still(before_a_camera(walking, pitch_deg=0), 9)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    ahead, beside = lift(joints), lift(joints @ turn.T)
    np.testing.assert_allclose(beside.pose, ahead.pose @ turn.T, atol=0.02)
    assert np.abs(beside.pose - ahead.pose).max() > 0.02


def test_what_is_missing_moves_no_other_joint(walking):
    keypoints = seen(still(before_a_camera(walking), 20))
    whole = lift_track(flat_lifting(), keypoints, CAMERA, STRIDE, 64)
    keypoints[5:9, 16] = 0
    broken = lift_track(flat_lifting(), keypoints, CAMERA, STRIDE, 64)
    others = np.delete(np.arange(17), 16)
    hole = whole.pose[:, others] * whole.size[:, None, None] - broken.pose[:, others] * broken.size[:, None, None]
    assert np.abs(hole).max() < 1e-5
