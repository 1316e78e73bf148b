import numpy as np
import pytest

from data_contracts.clips import Clip, find_faults, from_arrow, summarise, to_arrow


def test_a_clean_clip_keeps_the_contract(walking):
    assert find_faults([summarise(0, walking, 60.0)]).empty


def teleport(poses):
    poses[40:] += np.array([3.0, 0, 0])


def not_a_number(poses):
    poses[7, 3, 1] = np.nan


def millimetres(poses):
    poses *= 1000


def frozen(poses):
    poses[:] = poses[0]


def collapsed(poses):
    poses[:, 6] = poses[:, 5]


def stretched(poses):
    shin = poses[:, 6] - poses[:, 5]
    poses[:, 6] += 0.6 * np.sin(np.linspace(0, np.pi, len(poses)))[:, None] * shin


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (teleport, "speed_max"),
        (not_a_number, "non_finite"),
        (millimetres, "stature"),
        (frozen, "speed_max"),
        (collapsed, "bone_min"),
        (stretched, "limb_stretch"),
    ],
)
def test_each_damage_is_caught_by_the_check_meant_for_it(walking, damage, check):
    poses = walking.copy()
    damage(poses)
    faults = find_faults([summarise(0, walking, 60.0), summarise(1, poses, 60.0)])
    assert check in set(faults["check"])
    assert set(faults["clip_id"]) == {1}
    assert np.isfinite(faults["value"].astype(float)).all()


def test_wrong_joint_count_and_empty_clips_are_caught(walking):
    faults = find_faults([summarise(4, walking[:, :16], 60.0), summarise(5, walking[:0], 60.0)])
    assert list(zip(faults["clip_id"], faults["check"], strict=True)) == [(4, "joints"), (5, "frames")]


def test_clips_pass_through_arrow_to_the_bit(walking):
    clips = [Clip(0, "a", "g", "walk", 60.0, walking), Clip(1, "b", "h", "run", 30.0, walking[:9])]
    back = from_arrow(to_arrow(clips, [summarise(c.clip_id, c.poses, c.fps) for c in clips]))
    for clip, again in zip(clips, back, strict=True):
        assert (clip.name, clip.group, clip.fps) == (again.name, again.group, again.fps)
        np.testing.assert_array_equal(clip.poses, again.poses)
