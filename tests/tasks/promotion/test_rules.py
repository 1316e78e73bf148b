import numpy as np
import pandas as pd
import pytest

from data_contracts.parameters import PromoteParameters
from data_contracts.report import JOINT_COLUMNS, SCORE_COLUMNS, WEIGHT_COLUMNS
from model.scoring.intervals import difference
from tasks.promotion.rules import judge, judge_first

DEFAULTS = PromoteParameters()


def errors(offset=0.0, people=8, clips=6, per_clip=10, by_person=None, **columns):
    """An error table of equal weights; `by_person` is added to the MPJPE of each person's windows."""
    random = np.random.default_rng(1)
    person = np.repeat(np.arange(people), clips * per_clip)
    base = random.uniform(40, 90, len(person)) + offset + (0 if by_person is None else np.asarray(by_person)[person])
    scores = {"pck_150": 0.9, "mpjpe_mm": base, **dict.fromkeys(JOINT_COLUMNS.values(), base), **columns}
    of_windows = {
        "window_id": np.arange(len(person)),
        "clip_id": np.repeat(np.arange(people * clips), per_clip),
        "group": person.astype(str),
        "action": np.where(np.arange(len(person)) % 2, "walk", "run"),
        "camera": 0,
        "yaw_deg": 0.0,
    }
    weights = dict.fromkeys(WEIGHT_COLUMNS, 9.0)
    return pd.DataFrame({**of_windows, **weights, **dict.fromkeys(SCORE_COLUMNS, 0.0), **scores})


def pairs(challenger, champion=None):
    return difference(challenger, reference=errors() if champion is None else champion)


def failed(verdict):
    return [check.name for check in verdict.checks if not check.passed]


def test_a_better_challenger_is_promoted_and_a_worse_or_equal_one_is_not():
    better = judge(pairs(errors(-3)), [(50, 50)], DEFAULTS)
    assert better.promoted
    assert "better than the champion: -3.00 mm, 93% interval [-3.00, -3.00] over 8 people" in better.reason
    assert failed(judge(pairs(errors()), [(50, 50)], DEFAULTS)) == ["better than the champion"]
    worse = judge(pairs(errors(3)), [(50, 50)], DEFAULTS)
    assert failed(worse) == ["better than the champion"]
    assert worse.reason.startswith("worse than the champion: +3.00 mm")


def test_a_gain_of_few_subjects_is_not_certain():
    few_gain = judge(pairs(errors(by_person=[-30, 3, 2, 1, 2, 3, 1, 2])), [], PromoteParameters(max_regression_mm=9))
    assert few_gain.differences.mpjpe_mm.value < -1
    assert failed(few_gain) == ["better than the champion"]


def test_a_larger_gain_is_required_with_few_test_subjects():
    assert not judge(pairs(errors(people=2, by_person=[-1, -3]), errors(people=2)), [], DEFAULTS).promoted
    assert judge(pairs(errors(people=2, by_person=[-3, -3.1]), errors(people=2)), [], DEFAULTS).promoted
    assert not judge(pairs(errors(-4, people=1), errors(people=1)), [], DEFAULTS).promoted
    alone = judge(pairs(errors(-6, people=1), errors(people=1)), [], DEFAULTS)
    assert alone.promoted
    assert "over 6 clips; a gain of 5 mm is required with a single subject" in alone.reason


def test_a_single_clip_gives_no_certain_result():
    of_one = {"people": 1, "clips": 1}
    alone = judge(pairs(errors(-30, **of_one), errors(**of_one)), [], DEFAULTS)
    assert failed(alone) == ["better than the champion"]
    assert "-30.00 mm, without an interval over 1 clips" in alone.reason
    assert not judge_first({"linear": pairs(errors(-30, **of_one), errors(**of_one))}, DEFAULTS).promoted


def test_a_better_mean_does_not_excuse_a_worse_subject_or_joint():
    one_loses = judge(pairs(errors(by_person=[-6, -6, -6, -6, -6, -6, -6, 12])), [], DEFAULTS)
    assert failed(one_loses) == ["better than the champion", "no subject worse"]
    assert "7 +12.0 mm" in one_loses.reason
    hand = errors(-3, left_wrist_mm=100.0)
    assert failed(judge(pairs(hand, errors(left_wrist_mm=90.0)), [], DEFAULTS)) == ["no joint worse"]


def test_a_loss_that_may_be_chance_does_not_refuse_a_certain_gain():
    """Losses of a joint, an action and a subject with a mean above the bound, and an interval that includes it."""
    better, champion = errors(-10), errors()
    wrist = champion["left_wrist_mm"] + np.repeat(np.tile([26.0, -14.0], 4), 60)  # mean loss 6 mm
    of_clips = np.repeat([-20.0, 30.0, -5.0, 25.0, 10.0, 2.0], 10)  # mean loss 7 mm
    first = better["group"] == "0"
    subject = better["mpjpe_mm"].where(~first, champion["mpjpe_mm"] + np.pad(of_clips, (0, len(first) - 60)))
    verdict = judge(pairs(better.assign(left_wrist_mm=wrist, mpjpe_mm=subject)), [], DEFAULTS)
    assert verdict.differences.per_joint_mm["left_wrist"].value > 5
    assert verdict.differences.per_group_mm["0"].value > 5
    assert verdict.promoted


def test_an_action_of_a_single_clip_refuses_nothing():
    table = errors(-5)
    lost = table["clip_id"] == 0
    alone = table.assign(action=table["action"].where(~lost, "cartwheel"))
    alone["mpjpe_mm"] += np.where(lost, 30, 0)
    verdict = judge(pairs(alone, errors().assign(action=alone["action"])), [], DEFAULTS)
    assert verdict.differences.per_action_mm["cartwheel"].value == pytest.approx(25)
    assert verdict.promoted


@pytest.mark.parametrize(("points", "passed"), [(-0.001, True), (-0.4, True), (-0.6, False)])
def test_a_small_certain_loss_of_pck_is_tolerated(points, passed):
    assert judge(pairs(errors(-5, pck_150=0.9 + points / 100)), [], DEFAULTS).promoted is passed


def test_a_subject_with_most_clips_does_not_make_an_interval_narrow():
    """The frames of one subject of five outweigh the others: its gain alone is not certain."""
    table, champion = errors(people=5), errors(people=5)
    table["mpjpe_mm"] += np.where(table["group"] == "0", -4, 1)
    weights = {"weight": np.where(table["group"] == "0", 400.0, 9.0)}
    verdict = judge(pairs(table.assign(**weights), champion.assign(**weights)), [], DEFAULTS)
    assert verdict.differences.mpjpe_mm.value < -3
    assert "better than the champion" in failed(verdict)


def test_fewer_right_joints_and_a_loss_under_noise_are_refused():
    assert failed(judge(pairs(errors(-3, pck_150=0.89)), [(50, 50)], DEFAULTS)) == ["no fewer joints right"]
    noisy = judge(pairs(errors(-3)), [(48, 50), (56, 50)], DEFAULTS)
    assert failed(noisy) == ["no worse in noise"]
    assert "under detector noise 56.0 mm, champion 50.0 mm: +6.0 mm; the limit is +5.0 mm" in noisy.reason


def test_the_first_version_must_beat_simple_baselines_and_be_no_worse_than_the_mlp():
    first = judge_first({"linear": pairs(errors(), errors(20)), "mlp": pairs(errors(), errors(2))}, DEFAULTS)
    assert first.promoted
    assert first.reason.startswith("better than baseline mlp: -2.00 mm")
    beaten = judge_first({"linear": pairs(errors(12), errors(20)), "mlp": pairs(errors(12), errors(2))}, DEFAULTS)
    assert failed(beaten) == ["not worse than baseline mlp"]
    tied = judge_first({"linear": pairs(errors(), errors(20)), "mlp": pairs(errors(3), errors(1))}, DEFAULTS)
    assert tied.promoted
    assert tied.reason.startswith("not certainly 5 mm worse than baseline mlp: +2.00 mm, 93% interval")
    assert not judge_first({"linear": pairs(errors(), errors())}, DEFAULTS).promoted
    assert beaten.differences.mpjpe_mm.value == pytest.approx(10)


def test_the_verdict_reports_that_noise_was_not_compared():
    (check,) = (check for check in judge(pairs(errors(-3)), [], DEFAULTS).checks if check.name == "no worse in noise")
    assert check.passed
    assert "were not compared" in check.result
