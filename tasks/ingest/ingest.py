"""Ingest motion files: read them safely, check clips against the clip contract, and write them as one clip store.

Each file is read twice. The first pass plans (motions, layout, unit, axes); the second pass writes the clips, with one
array in memory at a time.
"""

import os
from pathlib import Path

import numpy as np

from data_contracts.clips import QUARANTINE_FILE
from data_contracts.errors import InputError, some
from data_contracts.parameters import IngestParameters
from data_contracts.report import StageResult
from data_contracts.sources import MotionFile
from data_contracts.store import stage_keys
from data_contracts.store.folders import Stage
from tasks.ingest.clip_writer import ClipWriter
from tasks.ingest.plan import Plan, plan_reading
from tasks.ingest.reading import read_motion_file
from tasks.stage_runs.prefect_runs import run_logger, task
from tasks.stage_runs.progress import report_progress
from tasks.stage_runs.tracked_stage import run_stage
from tasks.tracking.runs import TrackedRun
from tasks.viewer.clip_sets import ClipSet
from tasks.viewer.data_page import log_data_page


@task(retried=True)
def ingest_clips(
    store: Path, files: list[MotionFile], parameters: IngestParameters, parent_run: str | None = None
) -> StageResult:
    """Write the clips of motion files to one clip store.

    Parameters
    ----------
    files
        Untrusted pickle, `.npz` or `.npy` files in one of the layouts of `tasks.ingest.layouts`, with their clip lists.
    parent_run
        Id of the MLflow run of the pipeline, if any.

    Raises
    ------
    RefusedPickle
        A file is damaged, or contains more than arrays and plain containers.
    InputError
        A file is missing; its layout, unit or up axis differs from the declared one; a clip list does not match; or too
        many clips break the contract.
    """
    before = [file.path.stat() for file in files]

    def write_clips(stage: Stage, tracked: TrackedRun) -> None:
        plan = plan_reading(files, parameters)
        writer = _write_files(stage, plan, parameters, sum(status.st_size for status in before))
        for motion_file, status in zip(files, before, strict=True):
            _refuse_changed(motion_file.path, status)
        warnings = plan.warnings + writer.finish(stage)
        for line in warnings:
            run_logger().warning(line)
        source = some([file.name for file in plan.files])
        stage.statistics |= {"source": source, "data": stage.data, "licence": parameters.licence, "warnings": warnings}
        tracked.log_artifact(stage.folder / QUARANTINE_FILE)
        manifest = {"digest": stage.digest, "counts": stage.counts, "statistics": stage.statistics}
        if parent_run is None:  # a pipeline run logs its own data page
            for line in log_data_page(store, tracked, ClipSet.read(stage.folder, manifest)):
                run_logger().warning(line)

    return run_stage(store, stage_keys.ingest(files, parameters), parent_run, write_clips)


def _write_files(stage: Stage, plan: Plan, parameters: IngestParameters, size: int) -> ClipWriter:
    """Read all files a second time and write their clips; `size` is their size in bytes, for the progress."""
    with (
        report_progress(stage.name, "bytes", size) as progress,
        ClipWriter(stage.folder, plan, parameters) as writer,
    ):

        def add(array: np.ndarray) -> None:
            clips, frames = writer.add(array)
            progress.advance(array.nbytes, clips=clips, frames=frames)

        for file in plan.files:
            if len(plan.files) > 1 or file.file.clip_list:
                run_logger().info(f"{file.name}: {len(file.motions)} clips, clip list: {file.file.clip_list or 'none'}")
            writer.begin(file)
            read_motion_file(file.file.path, add)
    return writer


def _refuse_changed(path: Path, before: os.stat_result) -> None:
    """Raise an InputError if the file is not the one that had the status `before`."""
    now = path.stat()  # compared with its inode: a file moved over this one may have the same time and size
    if (now.st_mtime_ns, now.st_size, now.st_ino) != (before.st_mtime_ns, before.st_size, before.st_ino):
        raise InputError(f"{path}: the file changed while it was read; run the command again")
