"""Fit the baselines of a windows folder; every evaluation on these windows reuses them."""

from pathlib import Path
from time import perf_counter

from data_contracts.parameters import PipelineParameters
from data_contracts.store.folders import Stage
from model.baselines.files import Baselines, save_baselines
from model.baselines.linear import fit_linear, fit_mean_depth
from model.baselines.mlp import fit_mlp
from model.data.loading import TrainingWindows, load_windows
from model.training.devices import make_fabric
from tasks.stage_runs.progress import report_progress
from tasks.tracking.runs import TrackedRun


def fit_baselines(stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, windows: Path) -> None:
    """Fit mean depth, linear and mlp on the train split; write one safetensors file per baseline.

    A killed run starts from the beginning, because fitting takes only minutes.

    Raises
    ------
    InputError
        The windows have no split train or val, or the weights of the MLP are not finite.
    """
    tracked.log_windows(windows, context="training")
    mlp, runtime = parameters.baselines.mlp, parameters.runtime
    fabric, memory_gb = make_fabric(runtime, mlp.precision), runtime.memory_gb
    train = load_windows(windows, "train", memory_gb, fabric.device, mlp.augmentation.wanted)
    val = load_windows(windows, "val", memory_gb, fabric.device)
    started = perf_counter()
    depth = fit_mean_depth(train)
    averaged = perf_counter()
    regression, penalty = fit_linear(train, val)
    solved = perf_counter()
    with report_progress(stage.name, "steps") as progress:
        trained = fit_mlp(TrainingWindows(train, val), mlp, fabric, progress.reach)
    save_baselines(stage.folder, Baselines(depth, regression, trained.network))
    minutes = {"mean_depth": (averaged - started) / 60, "linear": (solved - averaged) / 60, "mlp": trained.minutes}
    weights = sum(weight.numel() for weight in trained.network.parameters())
    stage.counts |= {"parameters": weights, "steps": trained.steps}
    stage.statistics |= {
        "ridge_penalty": penalty,
        "windows_per_second": round(trained.windows_per_second, 1),
        "train_minutes": minutes,
    }
    tracked.log_metrics({f"{name}/train_minutes": duration for name, duration in minutes.items()})
    tracked.log_metrics({"windows_per_second": trained.windows_per_second, "ridge_penalty": penalty})
