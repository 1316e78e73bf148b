"""Metrics and figures of a report in MLflow."""

import numpy as np
import pytest

from data_contracts.report import (
    METHODS,
    METRICS,
    PCK_CURVE_MM,
    ROBUSTNESS_METHODS,
    Estimate,
    MethodScores,
    Report,
    Resampling,
    Robustness,
)
from data_contracts.skeleton import JOINTS
from tasks.figures.scores import MAX_BARS, error_bars, joint_skeletons, pck_curves
from tasks.tracking.scores import all_scores, model_scores


def estimate(value, bound=1.0):
    bounds = {"low": None, "high": None} if bound is None else {"low": value - bound, "high": value + bound}
    return Estimate(value=value, over="people", units=7, windows=9, **bounds)


def report(bound=1.0, actions=40):
    scores = MethodScores(
        **dict.fromkeys(METRICS, estimate(50, bound)),
        per_joint_mm={joint: estimate(place, bound) for place, joint in enumerate(JOINTS)},
        per_action_mm={f"action {place}": estimate(40 + place, bound) for place in range(actions)},
        per_group_mm={"P1": estimate(50, None)},
        per_yaw_mm={},
        pck_curve=tuple(np.linspace(0, 1, len(PCK_CURVE_MM))),
        train_minutes=2.0,
    )
    errors = {"noise": dict.fromkeys(ROBUSTNESS_METHODS, 60.0)}
    return Report(
        split="val",
        projection="perspective",
        **dict.fromkeys(("windows", "frames", "people", "clips"), 9),
        digests={},
        model_uri=None,
        versions={},
        resampling=Resampling(),
        ridge_penalty=1,
        **dict.fromkeys(METHODS, scores),
        robustness=Robustness(windows=5, mpjpe_mm=errors),
    )


def test_the_name_of_a_score_has_split_method_and_metric():
    of_model, of_all = model_scores(report()), all_scores(report())
    assert set(of_model) == {f"val/{name}" for name in (*METRICS, "mpjpe_mm_low", "mpjpe_mm_high")}
    assert (of_model["val/mpjpe_mm_low"], of_model["val/mpjpe_mm_high"]) == (49, 51)
    assert of_model.items() <= of_all.items()
    others = {"val/mean_depth/mpjpe_mm", "val/robustness/noise_mpjpe_mm", "val/mlp/robustness/noise_mpjpe_mm"}
    assert {*others, "train_minutes", "mlp/train_minutes"} <= of_all.keys()
    assert "val/mean_depth/robustness/noise_mpjpe_mm" not in of_all  # it has nothing to lose


def test_a_score_of_one_clip_has_no_bounds():
    assert not {"val/mpjpe_mm_low", "val/mpjpe_mm_high"} & model_scores(report(bound=None)).keys()


@pytest.mark.parametrize("bound", [1.0, None])
def test_figures_show_all_methods_joints_and_the_worst_actions(bound):
    scores = report(bound)
    (curves,) = pck_curves(scores).axes
    assert [text.get_text().split(":")[0] for text in curves.get_legend().get_texts()] == [
        name.replace("_", " ") for name in METHODS
    ]
    skeletons = joint_skeletons(scores).axes[: len(METHODS)]
    assert [[text.get_text() for text in ax.texts] for ax in skeletons] == [[f"{n}" for n in range(17)]] * len(METHODS)
    actions, people = error_bars(scores).axes
    labels = [label.get_text() for label in actions.get_yticklabels()]
    assert labels == [f"action {39 - place}" for place in range(MAX_BARS)]
    assert actions.get_title() == "by action (30 worst of 40)"
    assert people.get_title() == "by subject (1)"
