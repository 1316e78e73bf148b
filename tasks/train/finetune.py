"""Fine-tune a pretrained DSTformer on 3D poses, with or without a frozen backbone."""

from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.parameters import FinetuneParameters, HeadKind, Objective, Runtime
from data_contracts.report import StageResult
from data_contracts.store import stage_keys
from data_contracts.store.checking import verify_input
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from model.network.dstformer import DSTformer
from model.training.checkpoints import load_network
from model.training.job import Job
from model.training.loop import build_network
from tasks.stage_runs.prefect_runs import task
from tasks.stage_runs.tracked_stage import run_stage
from tasks.tracking.runs import TrackedRun
from tasks.train.training import require_splits, train_stage


@task(retried=True)
def finetune_lifter(
    store: Path,
    windows: Path,
    checkpoint: Path,
    parameters: FinetuneParameters,
    runtime: Runtime,
    parent_run: str | None = None,
) -> StageResult:
    """Fine-tune a pretrained checkpoint on the 3D poses of windows.

    Raises
    ------
    InputError
        Split train or val is empty; or the checkpoint is not readable, takes only shorter windows, or its network does
        not support the head.
    """
    require_splits(windows, "train", "val")
    verify_input(checkpoint)  # before the network is loaded
    pretrained = load_network(checkpoint)
    frames = read_manifest(windows)["parameters"]["window"]
    if frames > pretrained.config.max_frames:
        raise InputError(
            f"{checkpoint}: the network takes windows of at most {pretrained.config.max_frames} frames, but {windows}"
            f" has {frames}"
        )
    if parameters.head is HeadKind.DEPTH and pretrained.config.geometry != "none":
        raise InputError(f"{checkpoint}: head depth needs a network without geometry; pass head joints or pose")

    def train(stage: Stage, tracked: TrackedRun) -> None:
        job = Job(
            folder=stage.folder,
            windows=windows,
            parameters=parameters,
            objective=Objective.LIFT,
            runtime=runtime,
            freeze_backbone=parameters.freeze_backbone,
        )
        train_stage(stage, tracked, with_head(pretrained, parameters), job)

    identity = stage_keys.finetune(windows, checkpoint, parameters)
    return run_stage(store, identity, parent_run, train, resume=True)


def with_head(pretrained: DSTformer, parameters: FinetuneParameters) -> DSTformer:
    """Return the pretrained backbone with a head for 3D poses; the parameters may freeze the backbone.

    - The pretrained head is reused if it has the same kind and returns 3D poses. Otherwise the head is initialised from
      the seed.
    - The mask token is reused only if joints will be masked, because training on several devices waits for the gradient
      of every weight.
    """
    config = pretrained.config.model_copy(update={"dim_out": 3, "mask_token": parameters.corruption.learns_token})
    network = build_network(lambda: DSTformer(config, parameters.head), parameters.seed)
    trained, initial = pretrained.backbone.state_dict(), network.backbone.state_dict()
    network.backbone.load_state_dict({name: trained.get(name, value) for name, value in initial.items()})
    network.norm.load_state_dict(pretrained.norm.state_dict())
    if parameters.head is pretrained.head_kind and pretrained.config.dim_out == 3:
        network.head.load_state_dict(pretrained.head.state_dict())
    network.backbone.requires_grad_(not parameters.freeze_backbone)
    return network
