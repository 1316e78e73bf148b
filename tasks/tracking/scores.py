"""Metrics of a report in MLflow, with the same names on the run of a stage, the run of a pipeline and a version.

- `test/mpjpe_mm` is the model's score on split test, with its interval `test/mpjpe_mm_low` and `_high`.
- `test/linear/mpjpe_mm` is the score of a baseline, `test/robustness/noise_mpjpe_mm` the error under detector noise,
  and `test/joint/head_mm` the error of a joint.
- `real_video/mpjpe_yaw_mm` is the model's score on videos with marker truth (`evaluate.real_video`), mean over the
  clips; `real_video/detector/mpjpe_yaw_mm` is the score of the detector's own 3D.
- Minutes of training have no split: `train_minutes`, `mlp/train_minutes`.
"""

from data_contracts.labelled_scores import MEAN
from data_contracts.report import REPORT_FILE, Estimates, Report
from tasks.figures.scores import error_bars, joint_skeletons, pck_curves
from tasks.tracking.runs import TrackedRun


def model_scores(report: Report) -> dict[str, float]:
    """Return the scores of a version: the metrics of the model, the interval of its MPJPE, and scores on real video."""
    return metrics_with_interval(report.model, report.split) | _video_scores(report, "model", "real_video")


def _video_scores(report: Report, method: str, prefix: str) -> dict[str, float]:
    values = report.real_video[method][MEAN].values() if report.real_video else {}
    return {f"{prefix}/{name}": value for name, value in values.items()}


def metrics_with_interval(estimates: Estimates, prefix: str) -> dict[str, float]:
    """Return the metrics and the interval of the MPJPE, with the prefix before their names."""
    scores = {f"{prefix}/{name}": estimate.value for name, estimate in estimates.metrics().items()}
    bounds = zip(("low", "high"), estimates.mpjpe_mm.interval or (), strict=False)
    return scores | {f"{prefix}/mpjpe_mm_{bound}": value for bound, value in bounds}


def all_scores(report: Report) -> dict[str, float]:
    """Return the metrics of a run: `model_scores`, the scores of the baselines, robustness and minutes of training."""
    scores = model_scores(report) | _video_scores(report, "detector", "real_video/detector")
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
    """Log the scores, the errors of the joints, the report and its figures."""
    joints = {f"{report.split}/joint/{joint}_mm": error.value for joint, error in report.model.per_joint_mm.items()}
    tracked.set_tags({"uplift.cameras": report.projection})
    tracked.log_metrics(all_scores(report) | joints)
    tracked.client.log_dict(tracked.run_id, report.model_dump(mode="json"), REPORT_FILE)
    tracked.log_figure(pck_curves(report), "pck.png")
    tracked.log_figure(joint_skeletons(report), "joints.png")
    tracked.log_figure(error_bars(report), "errors.png")
