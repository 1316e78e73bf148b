"""What MLflow shows of a report, under names that are the same on a stage's run, a pipeline's and a version.

`test/mpjpe_mm` is the model's score on split test, `test/linear/mpjpe_mm` a baseline's; `test/mpjpe_mm_low` and `_high`
bound the model's interval; `test/robustness/noise_mpjpe_mm` is its error through a detector's noise,
`test/joint/head_mm` that of a joint. Minutes of training belong to no split: `train_minutes`, `mlp/train_minutes`.
"""

from data_contracts.report import REPORT_FILE, Report
from tasks.figures.scores import error_bars, joint_skeletons, pck_curves
from tasks.tracking.runs import TrackedRun


def model_scores(report: Report) -> dict[str, float]:
    """The model's metrics, and the interval of its MPJPE: what a version bears."""
    scores = {f"{report.split}/{name}": estimate.value for name, estimate in report.model.metrics().items()}
    bounds = zip(("low", "high"), report.model.mpjpe_mm.interval or (), strict=False)
    return scores | {f"{report.split}/mpjpe_mm_{bound}": value for bound, value in bounds}


def all_scores(report: Report) -> dict[str, float]:
    """`model_scores`, those of the baselines, robustness, and the minutes of training: what a run bears."""
    scores = model_scores(report)
    for method, of_method in report.methods().items():
        name = "" if method == "model" else f"{method}/"
        scores |= {f"{report.split}/{name}{key}": estimate.value for key, estimate in of_method.metrics().items()}
        if of_method.train_minutes is not None:
            scores[f"{name}train_minutes"] = of_method.train_minutes
        for condition, errors in report.robustness.mpjpe_mm.items() if report.robustness else ():
            if method in errors:
                scores[f"{report.split}/{name}robustness/{condition}_mpjpe_mm"] = errors[method]
    return scores


def log_report(tracked: TrackedRun, report: Report) -> None:
    """Scores, joints, the report itself, and its pictures."""
    joints = {f"{report.split}/joint/{joint}_mm": error.value for joint, error in report.model.per_joint_mm.items()}
    tracked.log_metrics(all_scores(report) | joints)
    tracked.client.log_dict(tracked.run_id, report.model_dump(mode="json"), REPORT_FILE)
    tracked.log_figure(pck_curves(report), "pck.png")
    tracked.log_figure(joint_skeletons(report), "joints.png")
    tracked.log_figure(error_bars(report), "errors.png")
