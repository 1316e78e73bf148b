"""Evaluate a checkpoint and the baselines on the same windows of held-out subjects."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from matplotlib.figure import Figure

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.report import REPORT_FILE, ROBUSTNESS_METHODS, MethodScores, Report, Resampling, write_errors
from data_contracts.sources import MarkedVideos
from data_contracts.store.digests import CONTRACT_VERSION
from data_contracts.store.folders import Stage
from data_contracts.store.lineage import train_minutes
from data_contracts.store.manifests import package_versions, read_manifest, write_json
from data_contracts.store.run_names import input_data_name
from model.baselines.files import load_baselines
from model.data.loading import Windows, load_windows
from model.lifting.lifter import Lifter, load_lifter
from model.scoring.evaluation import Evaluation, Method, evaluate, method_of, score_robustness
from model.scoring.intervals import estimates
from model.training.devices import make_fabric
from tasks.evaluate.real_video import score_videos
from tasks.figures.motion import lifted_sheet
from tasks.stage_runs.prefect_runs import run_logger
from tasks.tracking.registry import logged_uri
from tasks.tracking.runs import TrackedRun
from tasks.tracking.scores import log_report
from tasks.viewer.clip_selection import select_scenes
from tasks.viewer.evaluation_viewer import VIEWER_FILE, viewer_html

FIGURE_POSES = 6
RESAMPLING = Resampling()


def evaluate_lifter(
    stage: Stage,
    tracked: TrackedRun,
    parameters: PipelineParameters,
    windows: Path,
    checkpoint: Path,
    baselines: Path,
    real_video: MarkedVideos | None = None,
) -> None:
    """Score a checkpoint and fitted baselines; write `report.json`, `errors.parquet` (per window), figures, a viewer.

    Raises
    ------
    InputError
        The checkpoint is not readable, returns 2D poses or takes only shorter windows, the baselines were fitted on
        windows of another length, or a file of `real_video` is refused.
    """
    fitted, options = read_manifest(baselines), parameters.evaluate
    tracked.log_windows(windows, context="evaluation")
    held_out = load_windows(windows, options.split, parameters.runtime.memory_gb)
    fabric = make_fabric(parameters.runtime, options.precision)
    methods = _methods(load_lifter(checkpoint, options.flip, held_out.window), baselines, fabric)
    lifted = None
    if real_video:
        lifted = score_videos(load_lifter(checkpoint, options.flip).to(fabric.device), real_video.videos)
    evaluations = {name: evaluate(method, held_out, options.batch_size, fabric) for name, method in methods.items()}
    minutes = {"model": train_minutes(stage.store, checkpoint), **fitted["statistics"]["train_minutes"]}
    robustness = None
    if options.robustness_windows:
        scored = {name: methods[name] for name in ROBUSTNESS_METHODS}
        robustness = score_robustness(scored, held_out, options.robustness_windows, options.batch_size, fabric)
    report = Report(
        split=options.split,
        projection=" and ".join(sorted(held_out.rows["projection"].unique())),
        windows=len(held_out),
        frames=evaluations["model"].frames,
        people=held_out.rows["group"].nunique(),
        clips=held_out.rows["clip_id"].nunique(),
        digests={"report": stage.digest, **stage.inputs},
        model_uri=logged_uri(tracked, stage.inputs["checkpoint"], options.flip),
        versions={"contract": str(CONTRACT_VERSION), **package_versions()},
        resampling=RESAMPLING,
        ridge_penalty=fitted["statistics"]["ridge_penalty"],
        **{name: _scores(evaluation, minutes[name]) for name, evaluation in evaluations.items()},
        robustness=robustness,
        real_video=lifted,
    )
    write_json(stage.folder / REPORT_FILE, report.model_dump(mode="json"))
    write_errors(stage.folder, {name: evaluation.errors for name, evaluation in evaluations.items()})
    stage.counts |= {"windows": report.windows, "frames": report.frames}
    stage.statistics |= _statistics(report)
    log_report(tracked, report)
    tracked.log_figure(_lifted_figure(held_out, methods["model"]), "lifted.png")
    title = f"{input_data_name(stage.store, stage.inputs)}, {options.split}, {report.projection} cameras"
    if scenes := select_scenes(held_out, evaluations["model"].errors, methods["model"], options.batch_size):
        tracked.client.log_text(tracked.run_id, viewer_html(f"Clips of {title}", scenes), VIEWER_FILE)
    else:
        run_logger().warning(f"{title}: every clip is shorter than a window, so the run has no viewer")


def _methods(lifter: Lifter, baselines: Path, fabric: Fabric) -> dict[str, Method]:
    """Return the `METHODS` by name; model and mlp use the same flip averaging, as both train with mirroring."""
    fitted = load_baselines(baselines)
    frames = fitted.mlp.config.max_frames
    if frames != lifter.window:
        raise InputError(
            f"{baselines}: the baselines were fitted on windows of {frames} frames, but the evaluation windows have"
            f" {lifter.window}; convert them with --set convert.window={frames}, or pass --baselines fitted on windows"
            f" of {lifter.window} frames"
        )
    return {
        "model": method_of(lifter, fabric),
        "mean_depth": fitted.mean_depth,
        "linear": fitted.linear,
        "mlp": method_of(Lifter(fitted.mlp, frames, flip=lifter.flip), fabric),
    }


def _scores(evaluation: Evaluation, minutes: float | None) -> MethodScores:
    scores = estimates(evaluation.errors, RESAMPLING)
    return MethodScores(**dict(scores), pck_curve=evaluation.pck_curve, train_minutes=minutes)


def _statistics(report: Report) -> dict[str, Any]:
    """Return the scores for the manifest, from which the terminal prints its tables."""
    scores = report.methods()
    return {
        "metrics": {name: one.headline() for name, one in scores.items()},
        "intervals": {name: one.intervals() for name, one in scores.items()},
        "resampled": f"{report.model.mpjpe_mm.units} {report.model.mpjpe_mm.over}",
        **report.model_dump(mode="json", include={"robustness", "real_video"}, exclude_none=True),
    }


def _lifted_figure(windows: Windows, method: Method) -> Figure:
    """Draw poses lifted by the model, from windows spread evenly over the split."""
    chosen = np.linspace(0, len(windows) - 1, FIGURE_POSES).astype(int).tolist()
    batch, middle = windows.pick(chosen), windows.window // 2
    millimetres = 1000 / batch.scale.view(-1, 1, 1)
    pred = method(batch.pose_2d)[:, middle] * millimetres
    true = batch.pose_3d[:, middle] * millimetres
    titles = [str(action) for action in windows.rows["action"].iloc[chosen]]
    return lifted_sheet(batch.pose_2d[:, middle].numpy(), pred.numpy(), true.numpy(), titles)
