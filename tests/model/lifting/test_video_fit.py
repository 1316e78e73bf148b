"""The fit of a video: feet stand on one floor, and pitch, lengths and poses are those of the scene."""

from dataclasses import replace

import numpy as np
import pytest

from model.lifting import video_fit
from model.lifting.contact import contacts_of, feet_speed
from model.lifting.gravity import to_world
from model.lifting.skeleton_fit import Body, bone_lengths
from model.lifting.video_fit import fit_video
from tests.model.lifting.walkers import CAMERA, before_a_camera, seen

FPS, PITCH = 60.0, 8.0
ANKLES = [6, 3]


def body_of(joints, lean=0.05, wobble=0.1):
    """Return a body with wrong depths: it leans by `lean` metres per metre, and comes and goes by `wobble` metres."""
    keypoints = seen(joints).astype(np.float64)
    pose = joints - joints[:, :1]
    pose[..., 2] += lean * pose[..., 1]
    confidence = np.ones(pose.shape[:2])
    position = joints[:, 0] + wobble * np.sin(np.arange(len(joints)) / 15)[:, None] * [0, 0, 1]
    return Body(CAMERA.rays(keypoints[..., :2]), confidence, pose, position, bone_lengths(pose, confidence))


def fit(*bodies, known_bones=(), **parameters):
    given = {"fps": FPS, "pitch_deg": 0.0, "pitch_is_known": False, "known_bones": dict(known_bones), "contact": True}
    return fit_video(bodies, **(given | parameters))


@pytest.fixture
def walk(walking):
    return before_a_camera(walking, pitch_deg=PITCH, yaw=1.2).astype(np.float64)


@pytest.fixture
def standing(walk):
    """Whether each foot (frames, 2) truly stands."""
    speed = np.linalg.norm(np.gradient(walk[:, ANKLES], axis=0), axis=-1) * FPS
    return speed < 0.1


def test_pose_pitch_and_floor_come_near_the_truth(walk):
    body = body_of(walk)
    found = fit(body)
    (joints,) = found.joints
    before = np.linalg.norm(body.pose + body.position[:, None] - walk, axis=-1).mean()
    assert np.linalg.norm(joints - walk, axis=-1).mean() < 0.7 * before
    assert abs(found.pitch_deg - PITCH) < 2 * found.pitch_std
    assert abs(found.roll_deg) < 2 * found.roll_std
    ankles = to_world(walk, PITCH)[:, ANKLES, 2]
    assert found.floor_m == pytest.approx(ankles.min() - 0.07, abs=0.15)
    assert found.stances >= 4


def test_standing_feet_stay_in_place_on_one_level(walk, standing):
    found = fit(body_of(walk))
    joints = to_world(found.joints[0], found.pitch_deg, found.roll_deg)[:, ANKLES]
    speed = np.linalg.norm(np.gradient(joints, axis=0), axis=-1)[standing] * FPS
    assert np.median(speed) < 0.05
    assert (joints[..., 2] - found.floor_m)[standing] == pytest.approx(0.07, abs=0.05)


def test_keypoints_are_met_but_for_outliers(walk):
    body = body_of(walk)
    wrong = body.rays.copy()
    wrong[50:52, 16] += 0.3
    (joints,) = fit(replace(body, rays=wrong)).joints
    image = joints[..., :2] / joints[..., 2:]
    assert np.linalg.norm(image - body.rays, axis=-1).max() < 0.04


def test_bones_are_constant_and_known_ones_are_kept(walk):
    found = fit(body_of(walk), known_bones={2: 0.5})
    assert found.lengths[0][[2, 5]] == pytest.approx(0.5)
    vectors = found.joints[0][:, 3] - found.joints[0][:, 2]
    assert np.linalg.norm(vectors, axis=-1) == pytest.approx(0.5, abs=0.03)


def test_camera_that_looks_down_at_a_person_who_stands_is_steep(walking):
    standing = before_a_camera(walking[131:132].repeat(180, axis=0), pitch_deg=30, yaw=1.2).astype(np.float64)
    found = fit(body_of(standing), pitch_deg=28.0)
    assert found.pitch_deg > 20
    assert abs(found.pitch_deg - 30) < 2 * found.pitch_std


def test_known_pitch_is_kept(walk):
    found = fit(body_of(walk), pitch_deg=PITCH, pitch_is_known=True)
    assert (found.pitch_deg, found.pitch_std) == (pytest.approx(PITCH), 0)


def test_people_of_a_video_stand_on_one_floor(walk):
    found = fit(body_of(walk), body_of(walk[:90] + np.array([0.8, 0, 0.5]), lean=-0.05))
    lowest = [to_world(joints, found.pitch_deg, found.roll_deg)[:, ANKLES, 2].min() for joints in found.joints]
    assert np.array(lowest) - found.floor_m == pytest.approx(0.07, abs=0.04)


@pytest.mark.parametrize(("pitch", "apart", "start"), [(8, 9.0, 11.0), (60, 0.0, 56.0)])
def test_feet_that_are_far_apart_show_the_pitch(walking, pitch, apart, start):
    near = before_a_camera(walking, pitch, yaw=1.2).astype(np.float64)
    down = np.deg2rad(pitch)
    far = near[::-1] + np.array([0.8, -apart * np.sin(down), apart * np.cos(down)])
    found = fit(body_of(near), body_of(far), pitch_deg=start)
    assert found.pitch_deg == pytest.approx(pitch, abs=2)
    lowest = [to_world(joints, found.pitch_deg, found.roll_deg)[:, ANKLES, 2].min() for joints in found.joints]
    assert np.array(lowest) - found.floor_m == pytest.approx(0.07, abs=0.05)


def test_ramp_across_the_image_is_no_steep_camera(walking):
    level = before_a_camera(walking, pitch_deg=0, yaw=0).astype(np.float64)
    along = level[:, :1, 0] - level[0, 0, 0]
    level[..., 1] -= 0.3 * along
    level[..., 2] -= level[:, :1, 2] - level[0, 0, 2]
    assert abs(fit(body_of(level, lean=0, wobble=0)).pitch_deg) < 15


def test_long_video_is_fitted_in_parts(walk, monkeypatch):
    whole, shares = fit(body_of(walk)), []
    monkeypatch.setattr(video_fit, "LONGEST", 80)
    monkeypatch.setattr(video_fit, "_SAMPLED", 40)
    parts = fit(body_of(walk), on_share=shares.append)
    assert shares[-1] == 1
    assert len(parts.joints[0]) == len(walk)
    assert np.linalg.norm(parts.joints[0] - whole.joints[0], axis=-1).mean() < 0.08
    jumps = np.linalg.norm(np.diff(parts.joints[0], axis=0), axis=-1)
    assert jumps.max() < 1.5 * np.linalg.norm(np.diff(walk, axis=0), axis=-1).max()


def test_one_frame_is_fitted(walk):
    assert fit(body_of(walk[:1])).joints[0].shape == (1, 17, 3)


def test_without_contact_feet_may_slide(walk):
    assert fit(body_of(walk), contact=False).stances == 0


def test_foot_that_is_high_or_moves_does_not_stand(walk):
    rays, confidence = CAMERA.rays(seen(walk)[..., :2].astype(np.float64)), np.ones(walk.shape[:2])
    heights, depth = to_world(walk, PITCH)[..., 2], walk[:, 0, 2]
    still = np.broadcast_to(rays[:1], rays.shape)
    assert (contacts_of(still, confidence, depth, heights[:1].repeat(len(walk), 0), FPS) >= 0).any(axis=0).all()
    upside_down = -heights[:1].repeat(len(walk), 0)
    assert (contacts_of(still, confidence, depth, upside_down, FPS) == -1).all()
    moving = contacts_of(rays, confidence, depth, heights, FPS)
    assert 0.2 < (moving >= 0).mean() < 0.95
    assert len(np.unique(moving[moving >= 0])) == moving.max() + 1


def test_speed_of_feet_shows_a_moving_camera(walk):
    confidence = np.ones(walk.shape[:2])
    assert feet_speed(walk, confidence, FPS) < 0.3
    assert feet_speed(walk - walk[:, :1], confidence, FPS) > 0.6
    assert np.isnan(feet_speed(walk, 0 * confidence, FPS))
