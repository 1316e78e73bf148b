"""Pretrain a DSTformer on masked 2D poses to predict the clean 2D pose (`reconstruct`) or the 3D pose (`lift`)."""

from pathlib import Path

from data_contracts.parameters import PretrainParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store import stage_keys
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from model.network.dstformer import DSTformer
from model.training.job import Job
from model.training.loop import build_network
from tasks.stage_runs.prefect_runs import task
from tasks.stage_runs.tracked_stage import run_stage
from tasks.tracking.runs import TrackedRun
from tasks.train.training import require_splits, train_stage


@task(retried=True)
def pretrain_backbone(
    store: Path,
    windows: Path,
    parameters: PretrainParameters,
    runtime: Runtime,
    parent_run: str | None = None,
) -> StageResult:
    """Pretrain on split train, validate on split val, and write `model.safetensors` to the run folder.

    Raises
    ------
    InputError
        Split train or val is empty.
    """
    require_splits(windows, "train", "val")
    frames = read_manifest(windows)["parameters"]["window"]
    dependent = {"max_frames": frames, "mask_token": parameters.corruption.learns_token}
    config = parameters.network.model_copy(update=dependent)

    def train(stage: Stage, tracked: TrackedRun) -> None:
        job = Job(
            folder=stage.folder,
            windows=windows,
            parameters=parameters,
            objective=parameters.objective,
            runtime=runtime,
        )
        network = build_network(lambda: DSTformer(config, parameters.head), parameters.seed)
        train_stage(stage, tracked, network, job)

    identity = stage_keys.pretrain(windows, parameters)
    return run_stage(store, identity, parent_run, train, resume=True)
