"""Evaluation on held-out people, beside the baselines on the same windows."""

from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from data_contracts.errors import InputError
from data_contracts.parameters import EvaluateParameters, Runtime
from data_contracts.report import (
    BASELINES,
    ERRORS_FILE,
    METHODS,
    REPORT_FILE,
    ROBUSTNESS_METHODS,
    Report,
    Robustness,
    StageResult,
)
from data_contracts.store import identities
from data_contracts.store.folders import Stage
from data_contracts.store.lineage import train_minutes
from data_contracts.store.manifests import read_manifest, write_json
from model.baselines.files import load_baselines
from model.learning.checkpoints import load_network
from model.learning.devices import make_fabric
from model.network.dstformer import DSTformer
from model.network.lifting import Lifter
from model.scoring.evaluation import evaluate, network_lifter
from model.scoring.robustness import score_robustness
from model.windows.loading import Windows, load_windows
from tasks.mlflow_runs.figures import joint_bars, lifted_sheet
from tasks.mlflow_runs.runs import TrackedRun
from tasks.pages.playing import PLAYING_PAGE, playing_page
from tasks.pages.telling_clips import telling_scenes
from tasks.stage_runs.tracked_stage import run_stage

SHOWN = 6  # poses in the picture


@task(cache_policy=NO_CACHE)
def evaluate_lifter(
    store: Path,
    windows: Path,
    checkpoint: Path,
    baselines: Path,
    parameters: EvaluateParameters,
    runtime: Runtime,
    parent_run: str | None = None,
) -> StageResult:
    """Score a checkpoint beside fitted baselines; leaves `report.json`, `errors.parquet` (per window), and pictures.

    Raises
    ------
    InputError
        The checkpoint is not readable, gives back 2D poses, or was made for shorter windows; or the baselines were
        fitted on windows of another length.
    """
    fitted = read_manifest(baselines)

    def score(stage: Stage, tracked: TrackedRun) -> None:
        tracked.log_windows(windows, context="evaluation")
        held_out = load_windows(windows, parameters.split, runtime.memory_gb)
        fabric = make_fabric(runtime, parameters.precision)
        network = _fitting(load_network(checkpoint), checkpoint, held_out)
        methods = _methods(network, baselines, held_out, fabric, parameters.flip)
        done = {name: evaluate(lift, held_out, parameters.batch_size, fabric) for name, lift in methods.items()}
        minutes = {"model": train_minutes(store, checkpoint), **fitted["statistics"]["train_minutes"]}
        report = Report(
            split=parameters.split,
            windows=len(held_out),
            frames=done["model"].frames,
            ridge_penalty=fitted["statistics"]["ridge_penalty"],
            **{name: done[name].scores.model_copy(update={"train_minutes": minutes[name]}) for name in METHODS},
            robustness=_robustness(methods, held_out, fabric, parameters),
        )
        write_json(stage.folder / REPORT_FILE, report.model_dump())
        beside = {f"{name}_mpjpe_mm": done[name].errors["mpjpe_mm"] for name in BASELINES}
        done["model"].errors.assign(**beside).to_parquet(stage.folder / ERRORS_FILE, index=False)
        stage.counts |= {"windows": report.windows, "frames": report.frames}
        stage.statistics |= {"metrics": {name: getattr(report, name).headline() for name in METHODS}}
        if report.robustness:
            stage.statistics |= {"robustness": report.robustness.model_dump()}
        _show(tracked, report, held_out, methods["model"])
        scenes = telling_scenes(held_out, done["model"].errors, methods["model"], parameters.batch_size)
        if scenes:
            page = playing_page(f"Clips of {windows.name}, {parameters.split}", scenes)
            tracked.client.log_text(tracked.run_id, page, PLAYING_PAGE)
        else:
            get_run_logger().warning(
                f"{windows}: no clip in split {parameters.split} is a window long; none is to play"
            )

    identity = identities.evaluate(windows, checkpoint, fitted["digest"], parameters)
    return run_stage(store, identity, parent_run, score)


def _methods(network: DSTformer, baselines: Path, windows: Windows, fabric: Fabric, flip: bool) -> dict[str, Lifter]:
    """A lifter of each of `METHODS`; model and mlp, which saw mirror images, answer with flip averaging if wanted."""
    beside = load_baselines(baselines)
    frames = beside.mlp.shape["window"]
    if frames != windows.window:
        raise InputError(
            f"{baselines}: is of windows of {frames} frames, and those to score on have {windows.window}; convert these"
            f" with --set convert.window={frames}, or pass --baselines with windows of {windows.window} frames"
        )
    return {
        "model": network_lifter(network, fabric, flip),
        "mean_depth": beside.mean_depth,
        "linear": beside.linear,
        "mlp": network_lifter(beside.mlp, fabric, flip),
    }


def _robustness(
    methods: dict[str, Lifter], windows: Windows, fabric: Fabric, parameters: EvaluateParameters
) -> Robustness | None:
    if not parameters.robustness_windows:
        return None
    lifters = {name: methods[name] for name in ROBUSTNESS_METHODS}
    return score_robustness(lifters, windows, parameters.robustness_windows, parameters.batch_size, fabric)


def _fitting(network: DSTformer, checkpoint: Path, windows: Windows) -> DSTformer:
    """The network, if it lifts windows of this length."""
    if network.config.dim_out != 3:
        raise InputError(f"{checkpoint} gives back 2D poses: it is pretrained only; fine-tune it first")
    if windows.window > network.config.max_frames:
        raise InputError(f"{checkpoint} takes up to {network.config.max_frames} frames; windows have {windows.window}")
    return network


def _show(tracked: TrackedRun, report: Report, windows: Windows, lifter: Lifter) -> None:
    for name in METHODS:
        tracked.log_metrics({_named(name, key): value for key, value in getattr(report, name).headline().items()})
    if report.robustness:
        tracked.log_metrics(
            {
                _named(name, f"robustness.{condition}_mpjpe_mm"): error
                for condition, errors in report.robustness.mpjpe_mm.items()
                for name, error in errors.items()
            }
        )
    tracked.log_metrics({f"joint.{joint}_mm": value for joint, value in report.model.per_joint_mm.items()})
    tracked.client.log_dict(tracked.run_id, report.model_dump(), REPORT_FILE)
    chosen = np.linspace(0, len(windows) - 1, SHOWN).astype(int).tolist()
    batch, middle = windows.pick(chosen), windows.window // 2
    millimetres = 1000 / batch.scale.view(-1, 1, 1)
    pred = lifter(batch.pose_2d)[:, middle] * millimetres
    true = batch.pose_3d[:, middle] * millimetres
    titles = [str(action)[:24] for action in windows.rows["action"].iloc[chosen]]
    tracked.log_figure(lifted_sheet(batch.pose_2d[:, middle].numpy(), pred.numpy(), true.numpy(), titles), "lifted.png")
    tracked.log_figure(joint_bars({name: getattr(report, name).per_joint_mm for name in METHODS}), "joints.png")


def _named(method: str, score: str) -> str:
    """A score's name in MLflow."""
    return score if method == "model" else f"{method}.{score}"
