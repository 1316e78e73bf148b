"""Fine-tuning: supervised lifting from a pretrained backbone, frozen or not."""

from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.parameters import FinetuneParameters, HeadKind, Objective, Runtime
from data_contracts.report import StageResult
from data_contracts.store import identities
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
from tasks.train.training import must_hold, train_stage


@task(retried=True)
def finetune_lifter(
    store: Path,
    windows: Path,
    checkpoint: Path,
    parameters: FinetuneParameters,
    runtime: Runtime,
    parent_run: str | None = None,
) -> StageResult:
    """Fine-tune a pretrained checkpoint on the windows' 3D poses.

    Raises
    ------
    InputError
        The windows have none to train or to validate on; or the checkpoint is not readable, or made for shorter ones;
        or its network does not go with the head.
    """
    must_hold(windows, "train", "val")
    verify_input(checkpoint)  # before its network is read
    pretrained = load_network(checkpoint)
    frames = read_manifest(windows)["parameters"]["window"]
    if frames > pretrained.config.max_frames:
        raise InputError(f"{checkpoint} takes windows of {pretrained.config.max_frames} frames; {windows} has {frames}")
    if parameters.head is HeadKind.DEPTH and pretrained.config.geometry != "none":
        raise InputError(f"{checkpoint} has a geometry that head depth does not go with; pass head joints or pose")

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

    identity = identities.finetune(windows, checkpoint, parameters)
    return run_stage(store, identity, parent_run, train, resume=True)


def with_head(pretrained: DSTformer, parameters: FinetuneParameters) -> DSTformer:
    """The pretrained backbone under the wanted head, frozen if so wanted.

    A head of the same kind that already gives 3D poses is kept; any other is new, its weights drawn from the seed. A
    token for masked joints is kept only where some will be masked: a weight that no step uses would have no gradient,
    which several devices wait for.
    """
    config = pretrained.config.model_copy(update={"dim_out": 3, "mask_token": parameters.corruption.learns_token})
    network = build_network(lambda: DSTformer(config, parameters.head), parameters.seed)
    learned, own = pretrained.backbone.state_dict(), network.backbone.state_dict()
    network.backbone.load_state_dict({name: learned.get(name, value) for name, value in own.items()})
    network.norm.load_state_dict(pretrained.norm.state_dict())
    if parameters.head is pretrained.head_kind and pretrained.config.dim_out == 3:
        network.head.load_state_dict(pretrained.head.state_dict())
    network.backbone.requires_grad_(not parameters.freeze_backbone)
    return network
