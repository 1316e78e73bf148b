"""Ingest motion files: read them safely, check clips against the clip contract, and write them as one clip store.

- Each file is read twice. The first pass plans (motions, layout, unit, axes); the second pass writes the clips, with
  one array in memory at a time.
- The digests of the files are computed in parallel with the plan. If the store already contains the clips, planning
  stops.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np

from data_contracts.clips import CLIPS_FILE, QUARANTINE_FILE
from data_contracts.errors import InputError, some
from data_contracts.parameters import IngestParameters
from data_contracts.report import StageResult
from data_contracts.sources import MotionFile
from data_contracts.store import stage_keys
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import Stage, find_stage
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
    store
        Root folder of the store.
    files
        Untrusted pickle, `.npz` or `.npy` files in one of the layouts of `tasks.ingest.layouts`. Each may have a clip
        list: a CSV with one row per clip, in file order, with the column `fname` and the optional columns `subject`,
        `action`, `fps` and `clip_len`.
    parameters
        Parameters of the ingest stage.
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
    identity, planned = _identify_and_plan(store, files, parameters)

    def write_clips(stage: Stage, tracked: TrackedRun) -> None:
        plan = planned or plan_reading(files, parameters)
        log = run_logger()
        _log_plan(plan)
        writer = _write_files(stage, plan, parameters, sum(status.st_size for status in before))
        for motion_file, status in zip(files, before, strict=True):
            _refuse_changed(motion_file.path, status)
        writer.finish()
        for line in writer.warnings():
            log.warning(line)
        stage.digests[CLIPS_FILE] = writer.output.digest
        stage.counts |= writer.counts()
        source, warnings = some([file.name for file in plan.files]), plan.warnings + writer.warnings()
        stage.statistics |= {
            "source": source,
            "data": stage.data,
            "licence": parameters.licence,
            "warnings": warnings,
            **writer.statistics(),
        }
        tracked.log_artifact(stage.folder / QUARANTINE_FILE)
        if parent_run is None:  # a pipeline run logs its own data page
            manifest = {"digest": stage.digest, "counts": stage.counts, "statistics": stage.statistics}
            for line in log_data_page(store, tracked, ClipSet.read(stage.folder, manifest)):
                log.warning(line)

    return run_stage(store, identity, parent_run, write_clips)


def _log_plan(plan: Plan) -> None:
    """Log the clips and the clip list of each file, and the warnings of the plan."""
    log = run_logger()
    for file in plan.files if len(plan.files) > 1 or plan.files[0].file.clip_list else []:
        log.info(f"{file.name}: {len(file.motions)} clips, clip list: {file.file.clip_list or 'not passed'}")
    for line in plan.warnings:
        log.warning(line)


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
            writer.begin(file)
            read_motion_file(file.file.path, add)
    return writer


def _refuse_changed(path: Path, before: os.stat_result) -> None:
    """Raise an InputError if the file is not the one that had the status `before`."""
    now = path.stat()  # compared with its inode: a file moved over this one may have the same time and size
    if (now.st_mtime_ns, now.st_size, now.st_ino) != (before.st_mtime_ns, before.st_size, before.st_ino):
        raise InputError(f"{path}: the file changed while it was read; run the command again")


def _identify_and_plan(
    store: Path, files: list[MotionFile], parameters: IngestParameters
) -> tuple[StageKey, Plan | None]:
    """Compute digests and plan in parallel, since both read whole files; return no plan if the store has the clips."""
    abandoned = Event()
    with ThreadPoolExecutor(1, "plan") as executor:
        plan = executor.submit(plan_reading, files, parameters, abandoned.is_set)
        try:
            identity = stage_keys.ingest(files, parameters)
            if find_stage(store, identity) is None:
                return identity, plan.result()
        finally:
            abandoned.set()
    return identity, None
