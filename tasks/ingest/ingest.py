"""Motion files -> clip store: read safely, checked against the clip contract, never held in memory as a whole.

Each file is read twice: a plan says what moves in it, in which layout, unit and axes; then its arrays go to the store.
Beside the plan the files' digests are taken, which ask the store: where that has the clips, the plan is given up.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np

from data_contracts.clips import CLIPS_FILE, QUARANTINE_FILE
from data_contracts.errors import InputError, some
from data_contracts.parameters import IngestParameters
from data_contracts.report import StageResult
from data_contracts.sources import MotionFile
from data_contracts.store import identities
from data_contracts.store.digests import Identity
from data_contracts.store.folders import Stage, find_stage
from tasks.figures.motion import clip_histograms
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
    """The clips of motion files as one clip store.

    Parameters
    ----------
    files
        Each a pickle, `.npz` or `.npy` in one of the layouts of `tasks.ingest.layouts`, never trusted; and its
        clip list, a CSV with a row per clip, in the file's order: `fname`, and where known `subject`, `action`, `fps`,
        `clip_len`.

    Raises
    ------
    RefusedPickle
        A file is damaged or asks for more than arrays and plain containers.
    InputError
        A file is missing; layout, unit or axis are not as declared; a clip list does not fit; or too many clips
        break the contract.
    """
    before = [file.path.stat() for file in files]
    identity, planned = _identify_and_plan(store, files, parameters)

    def write_clips(stage: Stage, tracked: TrackedRun) -> None:
        plan = planned or plan_reading(files, parameters)
        log = run_logger()
        for file in plan.files if len(files) > 1 or files[0].clip_list else []:
            log.info(f"{file.name}: {len(file.motions)} clips, clip list: {file.file.clip_list or 'none'}")
        for line in plan.warnings:
            log.warning(line)
        with (
            report_progress(stage.name, "bytes", sum(status.st_size for status in before)) as progress,
            ClipWriter(stage.folder, plan, parameters) as writer,
        ):

            def take(array: np.ndarray) -> None:
                clips, frames = writer.add(array)
                progress.advance(array.nbytes, clips=clips, frames=frames)

            for file in plan.files:
                writer.begin(file)
                read_motion_file(file.file.path, take)
        for file, status in zip(plan.files, before, strict=True):
            now = file.file.path.stat()  # one that another was moved over may be as old: it is another file
            if (now.st_mtime_ns, now.st_size, now.st_ino) != (status.st_mtime_ns, status.st_size, status.st_ino):
                raise InputError(f"{file.file.path}: was written to while it was read; run again")
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
        table = writer.table()
        tracked.log_artifact(stage.folder / QUARANTINE_FILE)
        columns = (table[name].to_numpy() for name in ("stature", "speed_max", "seconds"))
        tracked.log_figure(clip_histograms(*columns), "clips.png")
        if parent_run is None:  # a pipeline shows them on its own run, every night
            manifest = {"digest": stage.digest, "counts": stage.counts, "statistics": stage.statistics}
            for line in log_data_page(store, tracked, ClipSet.read(stage.folder, manifest)):
                log.warning(line)

    return run_stage(store, identity, parent_run, write_clips)


def _identify_and_plan(
    store: Path, files: list[MotionFile], parameters: IngestParameters
) -> tuple[Identity, Plan | None]:
    """Digests and plan side by side, which take about as long of large files; no plan where the store has the clips."""
    abandoned = Event()
    with ThreadPoolExecutor(1, "plan") as beside:
        plan = beside.submit(plan_reading, files, parameters, abandoned.is_set)
        try:
            identity = identities.ingest(files, parameters)
            if find_stage(store, identity) is None:
                return identity, plan.result()
        finally:
            abandoned.set()
    return identity, None
