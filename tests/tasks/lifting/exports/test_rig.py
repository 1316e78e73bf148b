"""Joint rotations of a motion: they reproduce its positions and do not flip."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from data_contracts.skeleton import BONES, JOINTS
from tasks.ingest.reading import read_motion_file
from tasks.lifting.exports.rig import NODES, RiggedMotion, rig
from tests.tasks.lifting.exports.motions import motion_of, resting, tumbling, y_up_by_hand

KNEE_TO_ANKLE, ELBOW_TO_WRIST = BONES.index((2, 3)), BONES.index((12, 13))


def positions(rigged: RiggedMotion) -> np.ndarray:
    """Forward kinematics: joints (frames, 17, 3), y up."""
    turned, places = [], []
    joints = np.zeros((len(rigged.root), 17, 3))
    for index, node in enumerate(NODES):
        turn = Rotation.from_quat(rigged.rotations[:, index])
        if index == 0:
            turned.append(turn)
            places.append(rigged.root)
        else:
            turned.append(turned[node.parent] * turn)
            places.append(places[node.parent] + turned[node.parent].apply(rigged.offsets[index]))
        joints[:, node.joint] = places[-1]
    return joints


def steps(rigged: RiggedMotion) -> np.ndarray:
    """Return the angle between consecutive frames of each node, degrees."""
    dots = np.sum(rigged.rotations[1:] * rigged.rotations[:-1], axis=-1)
    return np.rad2deg(2 * np.arccos(np.clip(dots, -1, 1)))


def bending(angles: np.ndarray, aside: float) -> np.ndarray:
    """Return the rest pose with the left forearm turned by `angles` (frames) in a plane at distance `aside`."""
    forearm = np.stack([np.cos(angles), np.sin(angles), np.full(len(angles), aside)], axis=-1)
    return resting(len(angles), left_wrist=forearm)


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 40))
@settings(max_examples=40)
def test_rotations_reproduce_positions_for_any_bone_directions(seed, frames):
    motion = motion_of(tumbling(seed, frames))
    assert np.abs(positions(rig(motion)) - y_up_by_hand(motion.joints)).max() < 1e-5


def test_every_joint_and_every_bone_has_a_node(lifted):
    assert {node.joint for node in NODES} == set(range(17))
    assert sorted(node.bone for node in NODES if node.bone >= 0) == list(range(len(BONES)))
    assert [node.name for node in NODES if node.name in JOINTS] == sorted(JOINTS, key=[n.name for n in NODES].index)
    assert all(node.parent < index for index, node in enumerate(NODES))


def test_rest_pose_is_a_t_on_the_floor_that_looks_along_z(lifted):
    rigged = rig(lifted)
    rest = {node.name: place for node, place in zip(NODES, rigged.rest, strict=True)}
    assert min(rest["left_ankle"][1], rest["right_ankle"][1]) == pytest.approx(0, abs=1e-9)
    assert rest["left_wrist"][0] > 0.4
    assert rest["right_wrist"][0] < -0.4
    assert rest["left_wrist"][1] == pytest.approx(rest["thorax"][1])
    assert rest["nose"][2] > 0.02
    assert rest["head"][1] > rest["nose"][1] > rest["thorax"][1]


def test_rest_pose_has_no_rotation():
    rigged = rig(motion_of(bending(np.zeros(3), 0.0)))
    assert np.abs(rigged.rotations - [0, 0, 0, 1]).max() < 1e-6


def test_rotations_of_a_walking_person_are_continuous(lifted):
    assert steps(rig(lifted)).max() < 15


@pytest.mark.parametrize("aside", [0.3, 0.05, 0.01, 1e-3])
def test_arm_through_the_opposite_direction_does_not_flip(aside):
    angles = np.linspace(0.2, 2 * np.pi - 0.2, 120)  # 2.8 degrees per frame
    assert steps(rig(motion_of(bending(angles, aside)))).max() < 4


def test_nodes_of_real_motion_do_not_flip(cmu_folder):
    """With shortest rotations alone, nose and elbow nodes of these clips turn by up to 172 degrees per frame."""
    with (cmu_folder / "clip_list.csv").open(encoding="utf-8") as file:
        wanted = [index for index, row in enumerate(csv.DictReader(file)) if row["fname"] in ("cmu_60_06", "cmu_60_07")]
    clips = read_motion_file(cmu_folder / "amass_joints_h36m_60.pkl", lambda array: array.copy())
    assert isinstance(clips, list)
    begins, ends = np.array(BONES).T
    for index in wanted:
        motion = motion_of(clips[index].transpose(1, 0, 2))
        bones = motion.joints[:, ends] - motion.joints[:, begins]
        bones /= np.linalg.norm(bones, axis=-1, keepdims=True)
        calm = np.sum(bones[1:] * bones[:-1], axis=-1).min(axis=1) > np.cos(np.deg2rad(15))
        assert calm.sum() > 100
        assert steps(rig(motion))[calm].max() < 60


def test_thorax_is_stable_when_nose_and_shoulders_are_collinear():
    angles = np.linspace(-0.3, 0.3, 60)  # the nose past the left shoulder's direction, 0.6 degrees per frame
    aside = np.stack([np.cos(angles), np.sin(angles), np.zeros(60)], axis=-1)
    assert steps(rig(motion_of(resting(60, nose=aside)))).max() < 3


def test_twist_of_a_fold_vanishes_after_the_return():
    angles = np.linspace(0.2, 2 * np.pi - 0.2, 120)
    through, begun = rig(motion_of(bending(angles, 0.01))), rig(motion_of(bending(angles[-1:], 0.01)))
    elbow = next(index for index, node in enumerate(NODES) if node.bone == ELBOW_TO_WRIST)
    dot = np.sum(through.rotations[-1, elbow] * begun.rotations[0, elbow])
    assert abs(dot) == pytest.approx(1, abs=1e-6)


def test_quaternions_have_continuous_signs(lifted):
    rotations = rig(lifted).rotations
    assert (np.sum(rotations[1:] * rotations[:-1], axis=-1) > 0).all()
    assert np.linalg.norm(rotations, axis=-1) == pytest.approx(1, abs=1e-12)


def test_bones_of_varying_length_keep_their_direction(lifted, walking):
    stretched = walking + np.random.default_rng(0).normal(scale=0.01, size=walking.shape)
    given, back = y_up_by_hand(motion_of(stretched).joints), positions(rig(motion_of(stretched)))
    for parent, child in BONES:
        wanted, got = given[:, child] - given[:, parent], back[:, child] - back[:, parent]
        cosines = np.sum(wanted * got, axis=-1) / np.linalg.norm(wanted, axis=-1) / np.linalg.norm(got, axis=-1)
        assert cosines.min() > 1 - 1e-6
        assert np.ptp(np.linalg.norm(got, axis=-1)) < 1e-9


def test_bone_of_length_zero_is_accepted(walking):
    joints = walking.astype(np.float64)
    joints[5, 3] = joints[5, 2]  # ankle in the knee
    rigged = rig(motion_of(joints))
    assert np.isfinite(rigged.rotations).all()
    assert rigged.lengths[KNEE_TO_ANKLE] > 0.3
