"""Ingest motion files: read them safely, check clips against the clip contract, and write them as one clip store.

Each file is read twice. The first pass plans (motions, layout, unit, axes); the second pass writes the clips, with one
array in memory at a time.
"""

from collections.abc import Sequence

import numpy as np

from data_contracts.clips import QUARANTINE_FILE
from data_contracts.errors import some
from data_contracts.parameters import IngestParameters, PipelineParameters
from data_contracts.sources import MotionFile
from data_contracts.store.folders import Stage
from tasks.ingest.clip_writer import ClipWriter
from tasks.ingest.plan import Plan, plan_reading
from tasks.ingest.reading import read_motion_file
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import report_progress
from tasks.tracking.runs import TrackedRun
from tasks.viewer.clip_sets import ClipSet
from tasks.viewer.data_page import log_data_page


def ingest_clips(
    stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, source: Sequence[MotionFile]
) -> None:
    """Write the clips of motion files to one clip store.

    Parameters
    ----------
    source
        Untrusted pickle, `.npz` or `.npy` files in one of the layouts of `tasks.ingest.layouts`, with their clip lists.

    Raises
    ------
    RefusedPickle
        A file is damaged, or contains more than arrays and plain containers.
    InputError
        The layout, unit or up axis of a file differs from the declared one; a clip list does not match; or too many
        clips break the contract.
    """
    plan = plan_reading(source, parameters.ingest)
    log = run_logger()
    writer = _write_files(stage, plan, parameters.ingest)
    warnings = plan.warnings + writer.finish(stage)
    for line in warnings:
        log.warning(line)
    stage.statistics |= {
        "source": some([file.name for file in plan.files]),
        "data": stage.data,
        "licence": parameters.ingest.licence,
        "warnings": warnings,
    }
    tracked.log_artifact(stage.folder / QUARANTINE_FILE)
    if tracked.parent_run is None:  # a pipeline run logs its own data page
        manifest = {"digest": stage.digest, "counts": stage.counts, "statistics": stage.statistics}
        for line in log_data_page(stage.store, tracked, ClipSet.read(stage.folder, manifest)):
            log.warning(line)


def _write_files(stage: Stage, plan: Plan, parameters: IngestParameters) -> ClipWriter:
    """Read all files a second time and write their clips."""
    size = sum(file.file.path.stat().st_size for file in plan.files)
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
