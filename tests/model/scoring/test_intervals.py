import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data_contracts.errors import InputError
from data_contracts.report import METRICS, SCORE_COLUMNS, Resampling
from model.scoring.intervals import clip_means, difference, estimate, estimates, students_interval


def table(people=6, clips=4, windows=5, of_people=5.0, seed=0):
    """Return an error table with one level of error per subject and noise per window."""
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


def test_values_are_weighted_means_within_their_intervals():
    errors = table()
    scores = estimates(errors)
    assert scores.mpjpe_mm.value == pytest.approx(np.average(errors["mpjpe_mm"], weights=errors["weight"]))
    assert scores.mpjve_mm.value == pytest.approx(np.average(errors["mpjve_mm"], weights=errors["pair_weight"]))
    assert scores.accel_mm.value == 0  # no window has three consecutive frames
    for name in set(METRICS) - {"accel_mm"}:
        score = getattr(scores, name)
        assert (score.over, score.units, score.windows) == ("people", 6, len(errors))
        assert score.low < score.value < score.high
    assert scores.per_joint_mm["head"] == scores.mpjpe_mm
    assert list(scores.per_yaw_mm) == ["000-045", "045-090", "315-360"]


def test_the_interval_equals_that_of_a_loop_over_subjects():
    errors, people = table(), [f"person {number}" for number in range(6)]
    score = estimate(errors, ["mpjpe_mm"], Resampling(resamples=20000))["mpjpe_mm"]
    random, means = np.random.default_rng(1), []
    by_person = dict(iter(errors.groupby("group")))
    for _ in range(3000):
        drawn = pd.concat([by_person[name] for name in random.choice(people, 6)])
        means.append(np.average(drawn["mpjpe_mm"], weights=drawn["weight"]))
    tail = 0.00243  # the normal distribution at Student's 2.571, of 5 degrees of freedom, times (6 / 5) ** 0.5
    low, high = np.quantile(means, (tail, 1 - tail))
    assert (score.low, score.high) == pytest.approx((low, high), abs=1.0)
    assert score == estimate(errors, ["mpjpe_mm"], Resampling(resamples=20000))["mpjpe_mm"]  # seeded


def test_intervals_are_over_clips_below_five_subjects():
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


def test_95_percent_intervals_contain_the_truth_in_about_95_percent():
    contained = []
    for seed in range(300):
        score = estimate(table(people=8, clips=1, windows=2, seed=seed), ["mpjpe_mm"], Resampling(resamples=1000))
        contained.append(score["mpjpe_mm"].low <= 50 <= score["mpjpe_mm"].high)
    assert 0.9 < np.mean(contained) < 0.985  # the plain percentile interval contains it in 87 %


def test_a_paired_difference_has_a_much_smaller_interval_than_the_scores():
    first = table(of_people=20)
    second = first.assign(**{name: first[name] - 2 for name in SCORE_COLUMNS}).sample(frac=1, random_state=0)
    lower = estimates(difference(second, reference=first))
    assert lower.mpjpe_mm.interval == pytest.approx((-2, -2))
    assert lower.per_group_mm["person 3"].value == pytest.approx(-2)
    low, high = estimates(first).mpjpe_mm.interval
    assert high - low > 10


def test_a_difference_over_other_windows_is_rejected():
    errors = table()
    for other in (table(people=5), errors.assign(weight=errors["weight"] * 2), errors.assign(yaw_deg=1.0)):
        with pytest.raises(InputError, match="same windows"):
            difference(errors, reference=other)


def test_resampling_in_chunks_gives_the_same_interval(monkeypatch):
    errors = table(people=3, clips=10)
    monkeypatch.setattr("model.scoring.intervals._MAX_DRAWS", 30 * 100)
    score = estimate(errors, ["mpjpe_mm"])["mpjpe_mm"]
    monkeypatch.undo()
    whole = estimate(errors, ["mpjpe_mm"])["mpjpe_mm"]
    assert score.interval == pytest.approx(whole.interval, rel=0.01)


def test_with_equal_weights_students_interval_is_that_of_the_subject_means():
    errors = table().assign(weight=9.0)
    means = errors.groupby("group")["mpjpe_mm"].mean()
    expected = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
    assert students_interval(errors, "mpjpe_mm", 0.95).interval == pytest.approx(expected)


def test_clip_means_give_the_same_interval_as_windows():
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
        score = students_interval(pd.DataFrame(subjects | {"mpjpe_mm": random.normal(size=6)}), "mpjpe_mm", 0.95)
        inside += score.low < 0 < score.high
    assert inside >= 930
