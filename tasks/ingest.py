"""Motion file -> clip store: read safely, checked against the clip contract, never held in memory as a whole.

The file is read twice: a plan says what moves in it, in which layout, unit and axes; then its arrays go to the store.
Beside the plan its digest is taken, which asks the store: where that has the clips, the plan is given up.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from data_contracts.clips import CLIPS_FILE, QUARANTINE_FILE
from data_contracts.errors import InputError
from data_contracts.parameters import GroupBy, IngestParameters
from data_contracts.report import StageResult
from data_contracts.store import identities
from data_contracts.store.digests import Identity
from data_contracts.store.folders import Stage, find_stage
from tasks.mlflow_runs.figures import clip_histograms
from tasks.mlflow_runs.runs import TrackedRun
from tasks.motion_files.clip_writer import ClipWriter
from tasks.motion_files.plan import Plan, plan_reading
from tasks.motion_files.reading import read_motion_file
from tasks.stage_runs.progress import report_progress
from tasks.stage_runs.tracked_stage import run_stage


@task(cache_policy=NO_CACHE)
def ingest_clips(
    store: Path, source: Path, clip_list: Path | None, parameters: IngestParameters, parent_run: str | None = None
) -> StageResult:
    """The clips of a motion file as a clip store.

    Parameters
    ----------
    source
        A pickle, `.npz` or `.npy` in one of the layouts of `tasks.motion_files.layouts`; never trusted.
    clip_list
        CSV with a row per clip, in the file's order: `fname`, and where known `subject`, `action`, `fps`, `clip_len`.

    Raises
    ------
    RefusedPickle
        The file is damaged or asks for more than arrays and plain containers.
    InputError
        A file is missing; layout, unit or axis are not as declared; the clip list does not fit; or too many clips
        break the contract.
    """
    before = _must_be_a_file(source).stat()
    identity, planned = _identify_and_plan(store, source, clip_list, parameters)

    def write_clips(stage: Stage, tracked: TrackedRun) -> None:
        plan = planned or plan_reading(source, clip_list, parameters)
        log = get_run_logger()
        for line in plan.warnings:
            log.warning(line)
        with (
            report_progress(stage.name, "bytes", before.st_size) as progress,
            ClipWriter(stage.folder, plan, parameters) as writer,
        ):

            def take(array: np.ndarray) -> None:
                clips, frames = writer.add(array)
                progress.advance(array.nbytes, clips=clips, frames=frames)

            read_motion_file(source, take)
        if source.stat().st_mtime_ns != before.st_mtime_ns:
            raise InputError(f"{source}: was written to while it was read; run again")
        writer.finish(source)
        statistics = writer.statistics()
        warnings = plan.warnings + _shared_skeletons(statistics["shared_skeletons"], parameters)
        stage.digests[CLIPS_FILE] = writer.file.digest
        stage.counts |= writer.counts()
        stage.statistics |= {"source": source.name, "warnings": warnings, "layout": plan.layout, **statistics}
        for line in warnings[len(plan.warnings) :]:
            log.warning(line)
        table = writer.table()
        tracked.log_artifact(stage.folder / QUARANTINE_FILE)
        columns = (table[name].to_numpy() for name in ("stature", "speed_max", "seconds"))
        tracked.log_figure(clip_histograms(*columns), "clips.png")

    return run_stage(store, identity, parent_run, write_clips)


def _identify_and_plan(
    store: Path, source: Path, clip_list: Path | None, parameters: IngestParameters
) -> tuple[Identity, Plan | None]:
    """Digest and plan side by side, which take about as long of a large file; no plan where the store has its clips."""
    abandoned = Event()
    with ThreadPoolExecutor(1, "plan") as beside:
        plan = beside.submit(plan_reading, source, clip_list, parameters, abandoned.is_set)
        try:
            identity = identities.ingest(source, clip_list, parameters)
            if find_stage(store, identity) is None:
                return identity, plan.result()
        finally:
            abandoned.set()
    return identity, None


def _must_be_a_file(source: Path) -> Path:
    if not source.is_file():
        raise InputError(f"{source}: there is no such file")
    return source


def _shared_skeletons(shared: list[list[str]], parameters: IngestParameters) -> list[str]:
    if parameters.group_by is not GroupBy.SUBJECT:
        return []
    return [
        f"groups {', '.join(groups)} have the same bone lengths: they may be one person under several names"
        for groups in shared
    ]
