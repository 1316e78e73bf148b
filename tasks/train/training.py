"""Run a training stage (pretraining or fine-tuning): windows in, a run folder and an MLflow run out."""

from pathlib import Path
from statistics import median

from data_contracts.errors import InputError
from data_contracts.parameters import Objective
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, Stage
from data_contracts.store.manifests import read_manifest
from model.network.dstformer import DSTformer
from model.network.flops import FORWARDS_A_STEP, forward_mflop
from model.training.checkpoints import BEFORE_LAST_FILE, can_resume, read_about
from model.training.job import JOB_FILE, OUTCOME_FILE, START_FILE, Job, run, run_on_devices
from model.training.progress import top_file
from tasks.stage_runs.cancellation import never_crashed_if_cancelled
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import report_progress
from tasks.tracking.logged_models import log_lifter
from tasks.tracking.names import CHECKPOINT_TAG
from tasks.tracking.registry import CHECKPOINTS, drop_other_checkpoints
from tasks.tracking.runs import TrackedRun


def require_splits(windows: Path, *splits: str) -> None:
    """Raise an error, before a run starts, if a split that training needs is empty.

    Raises
    ------
    InputError
        A split is empty; the message names it and the possible remedies.
    """
    counts = read_manifest(windows)["counts"]["windows"]
    if missing := [split for split in splits if not counts[split]]:
        raise InputError(
            f"{windows}: split {' and '.join(missing)} is empty; training needs both train and val."
            " Train on other windows, or convert the clips again with groups for train and for convert.val_groups."
            " `uplift evaluate` accepts these windows"
        )


def train_stage(stage: Stage, tracked: TrackedRun, network: DSTformer, job: Job) -> None:
    """Train `network` in the folder of the stage; log curves, the best checkpoints and the training data.

    A killed run continues from its last checkpoint.
    """
    log, parameters = run_logger(), job.parameters
    tracked.log_windows(job.windows, context="training")
    tracked.set_tags({"uplift.devices": job.runtime.devices * job.runtime.nodes, "uplift.windows": job.windows.name})
    logged = tracked.logged_steps("loss")  # a resumed run reports its first epochs again
    window, speeds = int(read_manifest(job.windows)["parameters"]["window"]), list[float]()
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
    with report_progress(stage.name, "steps") as bar, never_crashed_if_cancelled():
        progress = train(job, network, on_epoch, bar.reach, log.info)
    # files of a run in progress, and temporary files of a killed run
    temporary = (BEFORE_LAST_FILE, JOB_FILE, START_FILE, OUTCOME_FILE)
    for file in [*map(stage.folder.joinpath, temporary), *stage.folder.glob(".*")]:
        file.unlink(missing_ok=True)
    history = progress.history
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
    }
    digest = stage.digests[CHECKPOINT_FILE] = file_digest(stage.folder / CHECKPOINT_FILE)
    tracked.set_tags({"uplift.micro_batch": progress.micro_batch, CHECKPOINT_TAG: digest})
    _log_checkpoints(stage.folder, tracked, parameters.keep_top, history, job.objective)


def _log_checkpoints(
    folder: Path, tracked: TrackedRun, keep: int, history: list[dict[str, float]], objective: Objective
) -> None:
    """Log only the best checkpoints: as LoggedModels if they return 3D poses, otherwise as artifacts."""
    best = [(top_file(folder, int(r["epoch"])), r) for r in sorted(history, key=lambda r: r["val_mpjpe_mm"])[:keep]]
    drop_other_checkpoints(tracked, [checkpoint for checkpoint, _ in best])  # a killed run may have logged others
    for checkpoint, record in best:
        if objective is Objective.LIFT:
            metrics = {name: record[name] for name in ("val_mpjpe_mm", "val_pck_150")}
            log_lifter(tracked, checkpoint, int(record["step"]), metrics)
        else:
            tracked.log_artifact(checkpoint, CHECKPOINTS)
