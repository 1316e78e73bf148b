import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data_contracts.errors import InputError
from data_contracts.report import METRICS, SCORE_COLUMNS, Resampling
from model.scoring.intervals import clip_means, difference, estimate, estimates, students_interval


def table(people=6, clips=4, windows=5, of_people=5.0, seed=0):
    """An error table: every person has an own level of error, every window a noise."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), clips * windows)
    count = len(person)
    level = 50 + of_people * random.normal(size=people)[person] + random.normal(size=count)
    return pd.DataFrame(
        {
            "window_id": [f"w{number}" for number in range(count)],
            "clip_id": np.repeat(np.arange(people * clips), windows),
            "group": [f"person {number}" for number in person],
            "action": np.where(person % 2, "walking", "sitting"),
            "camera": 0,
            "yaw_deg": random.choice([0.0, 44.9, 45.0, 359.9, 360.0], count),
            "frames": 9.0,
            "weight": random.uniform(3, 9, count),
            "pair_weight": random.uniform(3, 9, count),
            "triple_weight": 0.0,
        }
        | dict.fromkeys(SCORE_COLUMNS, level)
    )


def test_values_are_weighted_means_and_intervals_hold_them():
    errors = table()
    scores = estimates(errors)
    assert scores.mpjpe_mm.value == pytest.approx(np.average(errors["mpjpe_mm"], weights=errors["weight"]))
    assert scores.mpjve_mm.value == pytest.approx(np.average(errors["mpjve_mm"], weights=errors["pair_weight"]))
    assert scores.accel_mm.value == 0  # no three frames stand together
    for name in set(METRICS) - {"accel_mm"}:
        found = getattr(scores, name)
        assert (found.over, found.units, found.windows) == ("people", 6, len(errors))
        assert found.low < found.value < found.high
    assert scores.per_joint_mm["head"] == scores.mpjpe_mm
    assert list(scores.per_yaw_mm) == ["000-045", "045-090", "315-360"]


def test_the_resampling_is_that_of_a_loop_over_people():
    errors, people = table(), [f"person {number}" for number in range(6)]
    found = estimate(errors, ["mpjpe_mm"], Resampling(resamples=20000))["mpjpe_mm"]
    random, means = np.random.default_rng(1), []
    by_person = dict(iter(errors.groupby("group")))
    for _ in range(3000):
        drawn = pd.concat([by_person[name] for name in random.choice(people, 6)])
        means.append(np.average(drawn["mpjpe_mm"], weights=drawn["weight"]))
    tail = 0.00243  # the normal distribution at Student's 2.571, of 5 degrees of freedom, times (6 / 5) ** 0.5
    low, high = np.quantile(means, (tail, 1 - tail))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1.0)
    assert found == estimate(errors, ["mpjpe_mm"], Resampling(resamples=20000))["mpjpe_mm"]  # seeded


def test_fewer_than_five_people_are_resampled_by_clip_and_it_is_said():
    few = estimates(table(people=4))
    assert (few.mpjpe_mm.over, few.mpjpe_mm.units) == ("clips", 16)
    many = estimates(table(people=6))
    assert many.mpjpe_mm.over == "people"
    assert {part.over for part in many.per_action_mm.values()} == {"clips"}  # three people each
    assert {(part.over, part.units) for part in many.per_group_mm.values()} == {("clips", 4)}


def test_one_clip_has_no_interval():
    alone = estimates(table(people=1, clips=1))
    assert alone.mpjpe_mm.interval is None
    assert alone.mpjpe_mm.value > 0


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(300):
        found = estimate(table(people=8, clips=1, windows=2, seed=seed), ["mpjpe_mm"], Resampling(resamples=1000))
        held.append(found["mpjpe_mm"].low <= 50 <= found["mpjpe_mm"].high)
    assert 0.9 < np.mean(held) < 0.985  # the plain percentile interval holds it in 87 %


def test_a_difference_on_the_same_windows_is_far_more_certain_than_the_scores_are():
    first = table(of_people=20)
    second = first.assign(**{name: first[name] - 2 for name in SCORE_COLUMNS}).sample(frac=1, random_state=0)
    lower = estimates(difference(second, than=first))
    assert lower.mpjpe_mm.interval == pytest.approx((-2, -2))
    assert lower.per_group_mm["person 3"].value == pytest.approx(-2)
    low, high = estimates(first).mpjpe_mm.interval
    assert high - low > 10


def test_other_windows_have_no_difference():
    errors = table()
    for other in (table(people=5), errors.assign(weight=errors["weight"] * 2), errors.assign(yaw_deg=1.0)):
        with pytest.raises(InputError, match="same windows"):
            difference(errors, than=other)


def test_many_clips_are_drawn_in_parts_with_bounded_memory(monkeypatch):
    errors = table(people=3, clips=10)
    monkeypatch.setattr("model.scoring.intervals._DRAWN_AT_ONCE", 30 * 100)
    found = estimate(errors, ["mpjpe_mm"])["mpjpe_mm"]
    monkeypatch.undo()
    whole = estimate(errors, ["mpjpe_mm"])["mpjpe_mm"]
    assert found.interval == pytest.approx(whole.interval, rel=0.01)


def test_with_equal_weights_the_interval_of_student_is_that_of_the_subjects_means():
    errors = table().assign(weight=9.0)
    means = errors.groupby("group")["mpjpe_mm"].mean()
    expected = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
    assert students_interval(errors, "mpjpe_mm", 0.95).interval == pytest.approx(expected)


def test_means_of_clips_give_the_interval_of_their_windows():
    errors = table()
    assert students_interval(clip_means(errors), "head_mm", 0.9).interval == pytest.approx(
        students_interval(errors, "head_mm", 0.9).interval
    )


def test_students_interval_is_over_clips_with_one_subject_and_absent_with_one_clip():
    one = table(people=1)
    assert (students_interval(one, "mpjpe_mm", 0.95).over, students_interval(one, "mpjpe_mm", 0.95).units) == (
        "clips",
        4,
    )
    assert students_interval(table(people=1, clips=1), "mpjpe_mm", 0.95).interval is None


def test_students_interval_contains_the_truth_although_the_subjects_have_unequal_weights():
    random, inside = np.random.default_rng(0), 0
    for _ in range(1000):
        subjects = {"group": np.arange(6), "clip_id": np.arange(6), "weight": [1, 1, 2, 10, 20, 30]}
        found = students_interval(pd.DataFrame(subjects | {"mpjpe_mm": random.normal(size=6)}), "mpjpe_mm", 0.95)
        inside += found.low < 0 < found.high
    assert inside >= 930
