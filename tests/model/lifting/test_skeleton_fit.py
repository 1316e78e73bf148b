"""Fit of a body: bones keep their directions and get one length; stature or a measured bone gives the scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.skeleton import ADULT_BONES_M, JOINTS, MIRROR
from model.lifting.skeleton_fit import (
    bone_lengths,
    bone_vectors,
    is_wholly_measured,
    metres_per_unit,
    stature_of,
    with_lengths,
)

ONES = np.ones((1, 17))


def poses(seed, frames=5):
    values = np.random.default_rng(seed).normal(size=(frames, 17, 3))
    return values - values[:, :1]


@given(seed=st.integers(0, 10**6))
def test_bones_keep_their_directions(seed):
    given_ = poses(seed)
    rigid = with_lengths(given_, np.array(ADULT_BONES_M))
    before, after = bone_vectors(given_), bone_vectors(rigid)
    np.testing.assert_allclose(np.linalg.norm(after, axis=-1), np.tile(ADULT_BONES_M, (5, 1)))
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    np.testing.assert_allclose(cosine, 1)
    assert (rigid[:, 0] == 0).all()


def test_rigid_body_is_unchanged_and_symmetric(walking):
    pose = walking.astype(np.float64) - walking[:, :1]
    lengths = bone_lengths(pose, np.ones(pose.shape[:2]))
    np.testing.assert_allclose(with_lengths(pose, lengths), pose, atol=0.02)
    other = [MIRROR[joint] - 1 for joint in range(1, 17)]
    np.testing.assert_array_equal(lengths, lengths[other])


def test_frames_with_an_unseen_bone_do_not_count_for_its_length():
    pose = np.repeat(poses(0, 1), 9, axis=0)
    wrist, elbow = JOINTS.index("right_wrist"), JOINTS.index("right_elbow")
    pose[:6, wrist] = pose[:6, elbow] + (9, 0, 0)
    confidence = np.ones((9, 17))
    confidence[:6, wrist] = 0
    lengths = np.linalg.norm(bone_vectors(pose)[-1], axis=-1)
    expected = (3 * lengths[wrist - 1] + 9 * lengths[JOINTS.index("left_wrist") - 1]) / 12
    assert bone_lengths(pose, confidence)[wrist - 1] == pytest.approx(expected, rel=1e-3)


@given(height=st.floats(1.0, 2.2), unit=st.floats(0.01, 100))
def test_body_has_its_stature_in_any_unit(height, unit):
    lengths = np.array(ADULT_BONES_M) * unit
    assert stature_of(lengths * metres_per_unit(lengths, height, {})) == pytest.approx(height)


def test_measured_bone_overrides_the_stature():
    factor = metres_per_unit(np.array(ADULT_BONES_M) * 7, 1.5, {"left_knee": 0.4455, "left_ankle": 0.473})
    assert factor * 7 == pytest.approx(1.1)


LEGS, ARMS = ("knee", "ankle"), ("elbow", "wrist")


@pytest.mark.parametrize("unseen", [LEGS, ARMS, ("ankle",)])
def test_unseen_bone_has_adult_proportions(walking, unseen):
    """Otherwise legs outside the image would make the person larger or smaller."""
    pose = walking.astype(np.float64) - walking[:, :1]
    confidence = np.ones(pose.shape[:2])
    true = bone_lengths(pose, confidence)
    hidden = [JOINTS.index(f"{side}_{joint}") for side in ("left", "right") for joint in unseen]
    pose[:, hidden] = 0.3 * pose[:, hidden]
    confidence[:, hidden] = 0
    lengths = bone_lengths(pose, confidence)
    np.testing.assert_allclose(lengths[[7, 8, 9]], true[[7, 8, 9]])
    assert stature_of(lengths) == pytest.approx(stature_of(true), rel=0.06)
    assert is_wholly_measured(confidence) == (unseen == ARMS)


def test_unseen_side_has_the_length_of_the_seen_side(walking):
    pose = walking.astype(np.float64) - walking[:, :1]
    confidence = np.ones(pose.shape[:2])
    true = bone_lengths(pose, confidence)
    left = [JOINTS.index(f"left_{joint}") for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")]
    pose[:, left], confidence[:, left] = 0, 0
    np.testing.assert_allclose(bone_lengths(pose, confidence), true, rtol=0.01)
