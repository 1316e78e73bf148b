"""The clip contract: each damage is caught by the check meant for it, and the clips beside it arrive to the bit."""

import numpy as np
import pandas as pd
import pytest

from data_contracts.clips import Clip, SeenClips, find_faults, from_arrow, summarise, to_arrow
from data_contracts.skeleton import MIRROR
from tasks.synthetic.motion import generate
from tests.tasks.ingest.pickles import read_pickle


def clip(poses, clip_id=0):
    return Clip(clip_id, f"take_{clip_id}", "g", "walk", 60.0, np.ascontiguousarray(poses, dtype=np.float32))


def test_a_clean_clip_keeps_the_contract(walking):
    assert find_faults(summarise([clip(walking)], SeenClips())).empty


def teleport(poses):
    poses[40:] += np.array([3.0, 0, 0])


def not_a_number(poses):
    poses[7, 3, 1] = np.nan


def millimetres(poses):
    poses *= 1000


def frozen(poses):
    poses[:] = poses[0]


def frozen_in_the_end(poses):
    poses[len(poses) // 3 :] = poses[len(poses) // 3]


def left_and_right_exchanged(poses):
    poses[:] = poses[:, list(MIRROR)]


def left_and_right_exchanged_in_some_frames(poses):
    poses[30:70] = poses[30:70][:, list(MIRROR)]


def legs_exchanged(poses):
    poses[:, 1:7] = poses[:, [4, 5, 6, 1, 2, 3]]


def collapsed(poses):
    poses[:, 6] = poses[:, 5]


def stretched_in_one_frame(poses):
    poses[33, 6] += 0.5 * (poses[33, 6] - poses[33, 5])


def stretched(poses):
    shin = poses[:, 6] - poses[:, 5]
    poses[:, 6] += 0.6 * np.sin(np.linspace(0, np.pi, len(poses)))[:, None] * shin


@pytest.mark.parametrize(
    ("damage", "checks"),
    [
        (teleport, {"speed_max"}),
        (not_a_number, {"non_finite"}),
        (millimetres, {"stature", "bone_max", "speed_max"}),  # too tall, too long and too fast at once
        (frozen, {"frozen_share"}),
        (frozen_in_the_end, {"frozen_share"}),
        (left_and_right_exchanged, {"facing"}),
        (left_and_right_exchanged_in_some_frames, {"speed_max"}),
        (legs_exchanged, {"trunk_twist"}),
        (collapsed, {"bone_min"}),
        (stretched, {"limb_stretch"}),
        (stretched_in_one_frame, {"limb_stretch"}),
    ],
)
def test_each_damage_is_caught_by_the_check_meant_for_it(walking, damage, checks):
    poses = walking.copy()
    damage(poses)
    before, after = clip(walking[5:], 0), clip(walking[9:], 2)
    rows = summarise([before, clip(poses, 1), after], SeenClips())
    faults = find_faults(rows)
    assert set(faults["check"]) == checks
    assert set(faults["clip_id"]) == {1}
    assert np.isfinite(faults["value"].astype(float)).all()
    for clean, kept in zip((walking[5:], walking[9:]), from_arrow(to_arrow([before, after], rows[::2])), strict=True):
        np.testing.assert_array_equal(kept.poses, clean)


def test_coordinates_too_large_to_be_squared_are_caught(walking):
    poses = walking * np.float32(1e30)
    faults = find_faults(summarise([clip(walking, 0), clip(poses, 1)], SeenClips()))
    assert set(faults["clip_id"]) == {1}
    assert {"stature", "bone_max", "speed_max"} <= set(faults["check"])


@pytest.mark.parametrize(
    ("shape", "check"),
    [((0,), "dimensions"), ((5,), "dimensions"), ((60, 17, 2), "coordinates"), ((60, 16, 3), "joints"),
     ((0, 17, 3), "frames"), ((1, 17, 3), "frames"), ((4, 60, 17, 3), "dimensions")],
)  # fmt: skip
def test_what_is_no_clip_at_all_is_a_fault_of_its_shape(shape, check):
    faults = find_faults(summarise([clip(np.ones(shape))], SeenClips()))
    assert faults["check"].tolist() == [check]


def test_a_duplicate_names_the_first_and_only_the_later_one_is_a_fault(walking):
    seen = SeenClips()
    first = summarise([clip(walking, 3), clip(walking[1:], 4)], seen)
    faults = find_faults(first + summarise([clip(walking, 9)], seen))
    assert faults[["clip_id", "check", "value"]].values.tolist() == [[9, "duplicate_of", 3]]


def test_a_clip_that_differs_in_one_bit_is_no_duplicate(walking):
    repaired = walking.copy()
    repaired.view(np.uint32)[31, 13, 2] ^= 1
    assert find_faults(summarise([clip(walking, 3), clip(repaired, 4)], SeenClips())).empty


def test_real_and_synthetic_motion_keep_clear_of_the_new_bounds(cmu_folder):
    real = [np.asarray(array).transpose(1, 0, 2) for array in read_pickle(cmu_folder / "amass_joints_h36m_60.pkl")]
    synthetic = [array.transpose(1, 0, 2) for array in generate(seed=0, people=6, seconds=3.0)[0]]
    rows = pd.DataFrame(summarise([clip(p, i) for i, p in enumerate(real + synthetic)], SeenClips()))
    assert find_faults(rows.to_dict("records")).empty
    assert rows["facing"].min() > 0.05
    assert rows["trunk_twist"].min() > 0.9
    assert rows["frozen_share"].max() < 0.2
    assert rows["limb_stretch"].max() < 0.001


def test_a_repaired_take_is_no_duplicate(walking):
    repaired = walking.copy()
    repaired[7, 13] += 0.001
    assert find_faults(summarise([clip(walking, 0), clip(repaired, 1)], SeenClips())).empty


def test_numbers_of_a_clip_do_not_depend_on_the_clips_beside_it(walking):
    alone = summarise([clip(walking[:50], 7)], SeenClips())
    among = summarise([clip(walking + 2, 1), clip(walking[:50], 7), clip(walking[20:], 2)], SeenClips())
    assert among[1] == alone[0]


def test_clips_pass_through_arrow_to_the_bit(walking):
    clips = [Clip(0, "a", "g", "walk", 60.0, walking), Clip(1, "b", "h", "run", 30.0, walking[:9])]
    back = from_arrow(to_arrow(clips, summarise(clips, SeenClips())))
    for before, again in zip(clips, back, strict=True):
        assert (before.name, before.group, before.fps) == (again.name, again.group, again.fps)
        np.testing.assert_array_equal(before.poses, again.poses)
