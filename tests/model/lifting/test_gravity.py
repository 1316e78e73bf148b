"""World axes: the pitch of the camera is removed, and feet are on the floor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.skeleton import JOINTS
from model.lifting.gravity import find_pitch, floor_height, to_world
from model.lifting.skeleton_fit import ANKLE_SHARE, bone_lengths, stretched
from tasks.convert.cameras import rotation_matrix
from tests.model.lifting.walkers import before_a_camera, stature


@given(pitch=st.floats(-60, 60), seed=st.integers(0, 1000))
def test_world_of_a_pitched_camera_is_upright(pitch, seed):
    world = np.random.default_rng(seed).normal(size=(4, 3))
    rotation = rotation_matrix(np.pi / 2, np.deg2rad(pitch))  # the camera looks along world y: x right, y away, z up
    np.testing.assert_allclose(to_world(world @ rotation.T, pitch), world, atol=1e-9)


@pytest.mark.parametrize("pitch", [-20.0, 0.0, 15.0, 35.0])
def test_pitch_is_estimated_from_walking_people(walking, pitch):
    pose = before_a_camera(walking, pitch_deg=pitch)
    pose = pose - pose[:, :1]
    confidence = np.ones(pose.shape[:2])
    found = find_pitch([pose], [confidence], [stretched(bone_lengths(pose, confidence))])
    assert found.source == "bodies"
    assert abs(found.degrees - pitch) < 2 * found.std
    assert found.std < 4


def test_partly_seen_or_lying_person_does_not_count(walking):
    pose = before_a_camera(walking)
    pose = pose - pose[:, :1]
    confidence = np.ones(pose.shape[:2])
    stretch = stretched(bone_lengths(pose, confidence))
    lying = pose[..., [1, 0, 2]] @ np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0.0]])
    confidence[:, JOINTS.index("left_ankle")] = 0
    found = find_pitch([pose, lying], [confidence, np.ones_like(confidence)], [stretch, stretch])
    assert (found.degrees, found.source) == (0, "assumed")


def test_feet_are_on_the_floor(walking):
    joints = before_a_camera(walking, pitch_deg=12.0)
    world = to_world(joints, 12.0)
    floor = floor_height(world - world[:, :1], world[:, 0], np.ones(world.shape[:2]), ANKLE_SHARE * stature(joints))
    true = world[..., 2].mean() - walking[..., 2].mean()  # the clip's own floor is z = 0
    assert floor == pytest.approx(true, abs=0.06)


def test_single_frame_has_a_larger_uncertainty_than_many(walking):
    pose = before_a_camera(walking)
    confidence = np.ones(pose.shape[:2])
    stretch = stretched(bone_lengths(pose, confidence))
    standing = next(n for n in range(len(pose)) if find_pitch([pose[n : n + 1]], [confidence[:1]], [stretch]).std < 10)
    one = find_pitch([pose[standing : standing + 1]], [confidence[:1]], [stretch])
    assert one.std > 6 > find_pitch([pose], [confidence], [stretch]).std
