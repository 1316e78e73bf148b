"""Evaluation on held-out people, beside the two baselines on the same windows."""

from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts.errors import InputError
from data_contracts.parameters import EvaluateParameters, Runtime
from data_contracts.report import ERRORS_FILE, METHODS, REPORT_FILE, Report, StageResult
from data_contracts.store import identities
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import write_json
from model.learning.checkpoints import load_network
from model.learning.devices import make_fabric
from model.network.dstformer import DSTformer
from model.scoring.baselines import Lifter, linear, mean_depth
from model.scoring.evaluation import evaluate, network_lifter
from model.windows.loading import Windows, load_windows
from tasks.mlflow_runs.figures import joint_bars, lifted_sheet
from tasks.mlflow_runs.runs import TrackedRun
from tasks.stage_runs.tracked_stage import run_stage

SHOWN = 6  # poses in the picture


@task(cache_policy=NO_CACHE)
def evaluate_lifter(
    store: Path,
    windows: Path,
    checkpoint: Path,
    parameters: EvaluateParameters,
    runtime: Runtime,
    parent_run: str | None = None,
) -> StageResult:
    """Score a checkpoint; leaves `report.json` and `errors.parquet` (per window), with pictures in MLflow.

    Raises
    ------
    InputError
        The checkpoint is not readable, gives back 2D poses, or was made for shorter windows.
    """

    def score(stage: Stage, tracked: TrackedRun) -> None:
        tracked.log_windows(windows, context="evaluation")
        splits = ("train", "val", parameters.split)
        train, val, held_out = (load_windows(windows, split, runtime.memory_gb) for split in splits)
        ridge, alpha = linear(train, val)
        fabric = make_fabric(runtime, parameters.precision)
        lifter = network_lifter(_fitting(load_network(checkpoint), checkpoint, held_out), fabric, parameters.flip)
        methods = dict(zip(METHODS, (lifter, mean_depth(train), ridge), strict=True))
        done = {name: evaluate(lift, held_out, parameters.batch_size, fabric) for name, lift in methods.items()}
        report = Report(
            split=parameters.split,
            windows=len(held_out),
            frames=done["model"].frames,
            ridge_alpha=alpha,
            **{name: evaluation.scores for name, evaluation in done.items()},
        )
        write_json(stage.folder / REPORT_FILE, report.model_dump())
        done["model"].errors.to_parquet(stage.folder / ERRORS_FILE, index=False)
        stage.counts |= {"windows": report.windows, "frames": report.frames}
        stage.statistics |= {"metrics": {name: getattr(report, name).headline() for name in METHODS}}
        _show(tracked, report, held_out, lifter)

    return run_stage(store, identities.evaluate(windows, checkpoint, parameters), parent_run, score)


def _fitting(network: DSTformer, checkpoint: Path, windows: Windows) -> DSTformer:
    """The network, if it lifts windows of this length."""
    if network.config.dim_out != 3:
        raise InputError(f"{checkpoint} gives back 2D poses: it is pretrained only; fine-tune it first")
    if windows.window > network.config.max_frames:
        raise InputError(f"{checkpoint} takes up to {network.config.max_frames} frames; windows have {windows.window}")
    return network


def _show(tracked: TrackedRun, report: Report, windows: Windows, lifter: Lifter) -> None:
    for name in METHODS:
        scores = getattr(report, name)
        prefix = "" if name == "model" else f"{name}."
        tracked.log_metrics({f"{prefix}{key}": value for key, value in scores.headline().items()})
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
