"""What pretraining and fine-tuning share: windows in, an MLflow run and a run folder out."""

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


def must_hold(windows: Path, *splits: str) -> None:
    """Refuses, before a run is begun, windows without the splits that training takes.

    Raises
    ------
    InputError
        A split is empty; says which, and what such windows are good for.
    """
    counts = read_manifest(windows)["counts"]["windows"]
    if missing := [split for split in splits if not counts[split]]:
        raise InputError(
            f"{windows}: no windows in split {' and '.join(missing)}; training learns from train and keeps the epoch"
            " that is best on val; such windows score models (`uplift evaluate`): train on others, or convert the clips"
            " again with groups left to train and in convert.val_groups"
        )


def train_stage(stage: Stage, tracked: TrackedRun, network: DSTformer, job: Job) -> None:
    """Fit `network` in the stage's folder; log curves, the best checkpoints, and what was trained on what.

    A killed run is taken up where its `last` stands.
    """
    log, parameters = run_logger(), job.parameters
    tracked.log_windows(job.windows, context="training")
    tracked.set_tags({"uplift.devices": job.runtime.devices * job.runtime.nodes, "uplift.windows": job.windows.name})
    logged = tracked.logged_steps("loss")  # a run that is taken up again reports its first epochs once more
    window, speeds = int(read_manifest(job.windows)["parameters"]["window"]), list[float]()
    mflop = forward_mflop(network, window)

    def speed(windows_per_second: float) -> dict[str, float]:
        """In windows and, where the whole network learns from each, in operations that learning asks for."""
        gflop = {} if job.freeze_backbone else {"gflop_per_second": FORWARDS_A_STEP * mflop / 1000 * windows_per_second}
        return {"windows_per_second": windows_per_second, **gflop}

    def on_epoch(record: dict[str, float]) -> None:
        if "windows_per_second" in record:
            speeds.append(record["windows_per_second"])
            record = record | speed(speeds[-1])
        if record["step"] in logged:
            return
        tracked.log_metrics({k: v for k, v in record.items() if k != "step"}, step=int(record["step"]))
        log.info(
            f"epoch {record['epoch']} of {parameters.max_epochs}: loss {record['loss']:.4f},"
            f" validation MPJPE {record['val_mpjpe_mm']:.1f} mm, training {record['train_mpjpe_mm']:.1f} mm"
        )

    stage.resumed = can_resume(stage.folder)
    train = run if job.runtime.devices == job.runtime.nodes == 1 else run_on_devices
    with report_progress(stage.name, "steps") as shown, never_crashed_if_cancelled():
        progress = train(job, network, on_epoch, shown.reach, log.info)
    # what a run needs only while it goes on, or a killed one left
    passing = (BEFORE_LAST_FILE, JOB_FILE, START_FILE, OUTCOME_FILE)
    for file in [*map(stage.folder.joinpath, passing), *stage.folder.glob(".*")]:
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
    _log_checkpoints(stage.folder, tracked, window, parameters.keep_top, history, job.objective)


def _log_checkpoints(
    folder: Path, tracked: TrackedRun, window: int, keep: int, history: list[dict[str, float]], objective: Objective
) -> None:
    """The top-k and nothing else: LoggedModels where they lift, plain artifacts where they give back 2D."""
    best = [(top_file(folder, int(r["epoch"])), r) for r in sorted(history, key=lambda r: r["val_mpjpe_mm"])[:keep]]
    drop_other_checkpoints(tracked, [checkpoint for checkpoint, _ in best])  # a run that was killed may have left some
    for checkpoint, record in best:
        if objective is Objective.LIFT:
            metrics = {name: record[name] for name in ("val_mpjpe_mm", "val_pck_150")}
            log_lifter(tracked, checkpoint, window, int(record["step"]), metrics)
        else:
            tracked.log_artifact(checkpoint, CHECKPOINTS)
