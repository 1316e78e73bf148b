"""Pretrain and fine-tune networks on windows; each training writes a run folder and an MLflow run, and can resume."""

from pathlib import Path
from statistics import median

from data_contracts.errors import InputError
from data_contracts.parameters import FinetuneParameters, HeadKind, Objective, PipelineParameters
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, Stage
from data_contracts.store.lineage import TRAINING_DATA, FinishedStages, data_of_inputs
from data_contracts.store.manifests import read_manifest
from model.network.flops import FORWARDS_A_STEP, forward_mflop
from model.network.network import PoseNetwork
from model.training.checkpoints import BEFORE_LAST_FILE, can_resume, load_network, read_about, top_file
from model.training.job import JOB_FILE, OUTCOME_FILE, START_FILE, Job, run, run_on_devices
from model.training.loop import build_network
from tasks.stage_runs.prefect_runs import never_crashed_if_cancelled, run_logger
from tasks.stage_runs.progress import report_progress
from tasks.tracking.logged_models import log_lifter
from tasks.tracking.names import CHECKPOINT_TAG
from tasks.tracking.registry import CHECKPOINTS, drop_other_checkpoints
from tasks.tracking.runs import TrackedRun


def pretrain_network(stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, windows: Path) -> None:
    """Pretrain a network on split train to predict the clean 2D pose (`reconstruct`) or the 3D pose (`lift`)."""
    training = parameters.pretrain
    dependent = {"max_frames": _frames(windows), "mask_token": training.corruption.learns_token}
    config = training.network.model_copy(update=dependent)
    network = build_network(lambda: PoseNetwork(config, training.head), training.seed)
    job = Job(
        folder=stage.folder,
        windows=windows,
        parameters=training,
        objective=training.objective,
        runtime=parameters.runtime,
    )
    _train(stage, tracked, network, job)


def finetune_network(
    stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, windows: Path, pretrained: Path
) -> None:
    """Fine-tune the checkpoint `pretrained` on the 3D poses of windows.

    Raises
    ------
    InputError
        The checkpoint is not readable, or its network takes only shorter windows or does not support the head.
    """
    training, network, frames = parameters.finetune, load_network(pretrained), _frames(windows)
    if frames > network.config.max_frames:
        raise InputError(
            f"{pretrained}: the network takes windows of at most {network.config.max_frames} frames, but {windows}"
            f" has {frames}; pass --set convert.window={network.config.max_frames} to uplift convert"
        )
    if training.head is HeadKind.DEPTH and network.config.geometry != "none":
        raise InputError(
            f"{pretrained}: finetune.head depth needs a network without geometry; pass finetune.head=joints or"
            " finetune.head=pose"
        )
    if training.head is not HeadKind.POSE and network.config.kind == "mlp":
        raise InputError(f"{pretrained}: an MLP needs --set finetune.head=pose, not {training.head}")
    job = Job(
        folder=stage.folder,
        windows=windows,
        parameters=training,
        objective=Objective.LIFT,
        runtime=parameters.runtime,
        freeze_backbone=training.freeze_backbone,
    )
    _train(stage, tracked, with_head(network, training), job)


def with_head(pretrained: PoseNetwork, parameters: FinetuneParameters) -> PoseNetwork:
    """Return the pretrained backbone with a head for 3D poses; the parameters may freeze the backbone.

    - The pretrained head is reused if it has the same kind and returns 3D poses. Otherwise the head is initialised from
      the seed.
    - The mask token is reused only if joints will be masked, because training on several devices waits for the gradient
      of every weight.
    """
    config = pretrained.config.model_copy(update={"dim_out": 3, "mask_token": parameters.corruption.learns_token})
    network = build_network(lambda: PoseNetwork(config, parameters.head), parameters.seed)
    trained, initial = pretrained.backbone.state_dict(), network.backbone.state_dict()
    network.backbone.load_state_dict({name: trained.get(name, value) for name, value in initial.items()})
    network.norm.load_state_dict(pretrained.norm.state_dict())
    if parameters.head is pretrained.head_kind and pretrained.config.dim_out == 3:
        network.head.load_state_dict(pretrained.head.state_dict())
    network.backbone.requires_grad_(not parameters.freeze_backbone)
    return network


def _train(stage: Stage, tracked: TrackedRun, network: PoseNetwork, job: Job) -> None:
    """Train `network` in the folder of the stage; log curves, the best checkpoints and the training data."""
    log, parameters = run_logger(), job.parameters
    tracked.log_windows(job.windows, context="training")
    tracked.set_tags({"uplift.devices": job.runtime.devices * job.runtime.nodes, "uplift.windows": job.windows.name})
    logged = tracked.logged_steps("loss")  # a resumed run reports its first epochs again
    window, speeds = _frames(job.windows), list[float]()
    mflop = forward_mflop(network, window)

    def speed(windows_per_second: float) -> dict[str, float]:
        """Return windows and, if no weight is frozen, floating-point operations of training per second."""
        gflop = {} if job.freeze_backbone else {"gflop_per_second": FORWARDS_A_STEP * mflop / 1000 * windows_per_second}
        return {"windows_per_second": windows_per_second, **gflop}

    def on_epoch(record: dict[str, float]) -> None:
        if "windows_per_second" in record:
            speeds.append(record["windows_per_second"])
            record = record | speed(speeds[-1])
        if record["step"] in logged:
            return
        tracked.log_metrics({name: value for name, value in record.items() if name != "step"}, step=int(record["step"]))
        log.info(
            f"epoch {record['epoch']} of {parameters.max_epochs}: loss {record['loss']:.4f},"
            f" validation MPJPE {record['val_mpjpe_mm']:.1f} mm, training MPJPE {record['train_mpjpe_mm']:.1f} mm"
        )

    stage.resumed = can_resume(stage.folder)
    train = run if job.runtime.devices == job.runtime.nodes == 1 else run_on_devices
    with tracked.active(system_metrics=True), report_progress(stage.name, "steps") as bar, never_crashed_if_cancelled():
        progress = train(job, network, on_epoch, bar.reach, log.info)
    # files of a run in progress, and temporary files of a killed run
    temporary = (BEFORE_LAST_FILE, JOB_FILE, START_FILE, OUTCOME_FILE)
    for file in [*map(stage.folder.joinpath, temporary), *stage.folder.glob(".*")]:
        file.unlink(missing_ok=True)
    history = progress.history
    stages = FinishedStages(stage.store, job.windows)
    best = read_about(stage.folder / CHECKPOINT_FILE)
    stage.counts |= {
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "epochs": len(history),
        "bad_steps": progress.bad_steps,
    }
    stage.statistics |= {
        "objective": job.objective,
        "best_epoch": int(best["epoch"]),
        "val_mpjpe_mm": best["val_mpjpe_mm"],
        "val_pck_150": best["val_pck_150"],
        "train_mpjpe_mm": best["train_mpjpe_mm"],
        "micro_batch": progress.micro_batch,
        "mflop_per_window": mflop,
        **(speed(median(speeds)) if speeds else {}),
        "history": history,
        TRAINING_DATA: data_of_inputs(stages, stage.inputs).model_dump(mode="json"),
    }
    digest = file_digest(stage.folder / CHECKPOINT_FILE)
    tracked.set_tags({"uplift.micro_batch": progress.micro_batch, CHECKPOINT_TAG: digest})
    _log_checkpoints(job, tracked, history)


def _log_checkpoints(job: Job, tracked: TrackedRun, history: list[dict[str, float]]) -> None:
    """Log the best checkpoints, as LoggedModels if they return 3D poses, else as artifacts; delete all others."""
    records = sorted(history, key=lambda record: record["val_mpjpe_mm"])[: job.parameters.keep_top]
    best = [(top_file(job.folder, int(record["epoch"])), record) for record in records]
    drop_other_checkpoints(tracked, [checkpoint for checkpoint, _ in best])  # a killed run may have logged others
    for checkpoint, record in best:
        if job.objective is Objective.LIFT:
            metrics = {name: record[name] for name in ("val_mpjpe_mm", "val_pck_150")}
            log_lifter(tracked, checkpoint, int(record["step"]), metrics)
        else:
            tracked.log_artifact(checkpoint, CHECKPOINTS)


def _frames(windows: Path) -> int:
    return int(read_manifest(windows)["parameters"]["window"])
