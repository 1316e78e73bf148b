"""Plausibility of the demo motion: rigid bones, joints that bend in the right direction, feet on the floor."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from data_contracts.skeleton import BONES, JOINTS
from tasks.synthetic.motion import CLIP_LIST_COLUMNS, generate, write_pickle

ACTIONS = ("walking", "running", "turning", "jumping", "squatting", "reaching", "waving")
PEOPLE, SECONDS, FPS = 4, 4.0, 60


@pytest.fixture(scope="module")
def motion() -> tuple[list[np.ndarray], list[dict]]:
    return generate(seed=3, people=PEOPLE, seconds=SECONDS)


def joint(clip: np.ndarray, name: str) -> np.ndarray:
    return clip[JOINTS.index(name)]


def of_action(motion: tuple[list[np.ndarray], list[dict]], *actions: str) -> list[np.ndarray]:
    return [clip for clip, row in zip(*motion, strict=True) if row["action"] in actions]


def forward(clip: np.ndarray, part: str = "hip") -> np.ndarray:
    """Return the horizontal direction (T, 3) that the hips or the shoulders face: up x (the subject's right)."""
    right = joint(clip, f"right_{part}") - joint(clip, f"left_{part}")
    ahead = np.stack([-right[:, 1], right[:, 0], np.zeros(len(right))], axis=1)
    return ahead / np.linalg.norm(ahead, axis=1, keepdims=True)


def speeds(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(path, axis=-2), axis=-1) * FPS


def along(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return np.sum(vectors * directions, axis=-1)


def test_the_same_seed_gives_the_same_bits(motion):
    again, rows = generate(seed=3, people=PEOPLE, seconds=SECONDS)
    assert rows == motion[1]
    assert all(np.array_equal(a, b) for a, b in zip(again, motion[0], strict=True))


def test_another_seed_gives_another_motion(motion):
    other, _ = generate(seed=4, people=1, seconds=SECONDS)
    assert all(a.shape != b.shape or not np.allclose(a, b) for a, b in zip(other, motion[0], strict=False))


def test_a_subject_does_not_depend_on_the_number_of_subjects(motion):
    fewer, rows = generate(seed=3, people=2, seconds=SECONDS)
    assert rows == motion[1][: len(rows)]
    assert all(np.array_equal(a, b) for a, b in zip(fewer, motion[0], strict=False))


def test_clips_and_rows_have_the_documented_layout_and_names(motion):
    clips, rows = motion
    assert len(clips) == len(rows) == PEOPLE * len(ACTIONS)
    for index, (clip, row) in enumerate(zip(clips, rows, strict=True)):
        assert clip.dtype == np.float64
        assert clip.shape == (17, row["clip_len"], 3)
        assert tuple(row) == CLIP_LIST_COLUMNS
        assert (row["clip_id"], row["fps"]) == (index, FPS)
        assert row["fname"] == f"{row['subject']}_{row['action']}_01"
        assert row["subject"].startswith("synthetic_s")
    assert len({row["fname"] for row in rows}) == len(rows)
    assert {(row["subject"], row["action"]) for row in rows} == {
        (f"synthetic_s{person:02d}", action) for person in range(PEOPLE) for action in ACTIONS
    }


def test_bones_keep_their_length(motion):
    parents, children = (list(side) for side in zip(*BONES, strict=True))
    for clip in motion[0]:
        lengths = np.linalg.norm(clip[children] - clip[parents], axis=-1)
        assert np.ptp(lengths, axis=1).max() < 1e-6
        assert 0.03 < lengths.min() < lengths.max() < 0.7


def test_subjects_have_human_and_different_statures(motion):
    statures = []
    for clip in motion[0]:
        assert np.isfinite(clip).all()
        lowest = np.minimum(joint(clip, "left_ankle"), joint(clip, "right_ankle"))[:, 2]
        statures.append(float((joint(clip, "head")[:, 2] - lowest).max()))
    assert 1.2 < min(statures) < max(statures) < 2.2
    assert max(statures) - min(statures) > 0.05


def test_the_trunk_is_upright_and_the_pelvis_is_between_the_hips(motion):
    for clip in motion[0]:
        middle = (joint(clip, "left_hip") + joint(clip, "right_hip")) / 2
        np.testing.assert_allclose(joint(clip, "pelvis"), middle, atol=1e-9)
    for clip in of_action(motion, "walking", "turning", "waving"):
        heights = [joint(clip, name)[:, 2] for name in ("pelvis", "spine", "thorax", "nose", "head")]
        assert (np.diff(heights, axis=0) > 0).all()


def test_right_joints_are_on_the_right_of_the_walking_direction(motion):
    for clip in of_action(motion, "walking", "running"):
        going = np.diff(joint(clip, "pelvis")[:, :2], axis=0)
        right_hand = np.stack([going[:, 1], -going[:, 0]], axis=1)[speeds(joint(clip, "pelvis")) > 0.5]
        for part in ("hip", "shoulder"):
            across = (joint(clip, f"right_{part}") - joint(clip, f"left_{part}"))[1:, :2]
            assert (along(across[speeds(joint(clip, "pelvis")) > 0.5], right_hand) > 0).mean() > 0.99


def test_the_nose_is_in_front_of_the_thorax(motion):
    for clip in of_action(motion, "walking", "running"):
        assert along(joint(clip, "nose") - joint(clip, "thorax"), forward(clip)).mean() > 0.04


@pytest.mark.parametrize("side", ["left", "right"])
def test_knees_bend_backward_only(motion, side):
    for clip in motion[0]:
        hip, knee, ankle = (joint(clip, f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        leg = ankle - hip
        share = along(knee - hip, leg) / along(leg, leg)
        off_the_line = knee - hip - share[:, None] * leg
        assert along(off_the_line, forward(clip)).min() > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_elbows_bend_forward_only(motion, side):
    for clip in of_action(motion, "walking", "running"):
        shoulder, elbow, wrist = (joint(clip, f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        upper, fore = elbow - shoulder, wrist - elbow
        bent = fore - (along(fore, upper) / along(upper, upper))[:, None] * upper
        assert along(bent, forward(clip, "shoulder")).min() > 0


def test_arms_swing_against_the_legs(motion):
    for clip in of_action(motion, "walking", "running"):
        leg = along(joint(clip, "right_ankle") - joint(clip, "left_ankle"), forward(clip))
        arm = along(joint(clip, "right_wrist") - joint(clip, "left_wrist"), forward(clip))
        assert np.corrcoef(leg, arm)[0, 1] < -0.5


def test_a_foot_is_on_the_floor_outside_flight(motion):
    for clip in motion[0]:
        assert min(joint(clip, f"{side}_ankle")[:, 2].min() for side in ("left", "right")) > 0.03
    for clip in of_action(motion, "walking", "turning", "squatting", "reaching", "waving"):
        assert np.minimum(joint(clip, "left_ankle"), joint(clip, "right_ankle"))[:, 2].max() < 0.13


def test_feet_leave_the_floor_in_a_jump(motion):
    for clip in of_action(motion, "jumping"):
        lowest = np.minimum(joint(clip, "left_ankle"), joint(clip, "right_ankle"))[:, 2]
        assert lowest.max() - lowest.min() > 0.15


def test_standing_feet_do_not_slide(motion):
    for clip in of_action(motion, "squatting", "reaching"):
        assert max(speeds(joint(clip, f"{side}_ankle")).max() for side in ("left", "right")) < 0.3
    for clip in of_action(motion, "walking"):
        walker = np.median(speeds(joint(clip, "pelvis")))
        for side in ("left", "right"):
            ankle = joint(clip, f"{side}_ankle")
            flat = ankle[1:, 2] < ankle[:, 2].min() + 0.008
            assert np.median(speeds(ankle)[flat]) < 0.1 * walker


def test_speeds_and_accelerations_are_human(motion):
    for clip in motion[0]:
        assert speeds(clip).max() < 12
        assert np.linalg.norm(np.diff(joint(clip, "pelvis"), n=2, axis=0), axis=-1).max() * FPS**2 < 60


def test_the_pickle_is_a_plain_list_and_the_csv_matches_it(tmp_path: Path):
    pickle_path, list_path = write_pickle(tmp_path, seed=1, people=1, seconds=1.5)
    with pickle_path.open("rb") as file:
        clips = pickle.load(file)
    with list_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert pickle_path.name == "synthetic_joints_h36m_60.pkl"
    assert list_path.name == "synthetic_clip_list.csv"
    assert pickle_path.read_bytes()[:2] == b"\x80\x04"
    assert type(clips) is list
    assert tuple(rows[0]) == ("clip_id", "fname", "clip_len", "subject", "action", "fps")
    assert [int(row["clip_len"]) for row in rows] == [clip.shape[1] for clip in clips]
    expected, _ = generate(seed=1, people=1, seconds=1.5)
    assert all(np.array_equal(a, b) for a, b in zip(clips, expected, strict=True))
