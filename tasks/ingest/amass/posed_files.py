"""Pose the bodies of AMASS files in batches, and plan the ingest of their joints.

A batch writes one Parquet file with a row group per motion file, so that a worker has one motion in memory, and a
killed ingest continues with the batches that are missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from threadpoolctl import threadpool_limits

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, Layout, Workers
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.sources import AmassFiles, MotionFile, data_name
from data_contracts.splits import dataset_of
from data_contracts.store.folders import Stage
from tasks.batches import run_batches
from tasks.ingest.amass.body_models import Models, load_models, model_of
from tasks.ingest.amass.motion_files import KINDS, read_body_motion
from tasks.ingest.clip_list import label_clips, label_warnings
from tasks.ingest.formats.axes import World
from tasks.ingest.layouts import Motion
from tasks.ingest.plan import FilePlan, Plan, Survey, check_evidence
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import report_progress

LICENCE = "AMASS and SMPL licences: non-commercial research only (amass.is.tue.mpg.de/license.html)"
POSED = "posed"  # folder of the batches, in the folder of the stage until the clips are written
_BATCH_BYTES = 64 << 20  # of motion files
WORTH_A_POOL = 512 << 20  # bytes of motion files; below this, starting processes takes longer than they save
_SCHEMA = arrow.schema(
    [
        ("file", arrow.int64()),
        ("fps", arrow.float64()),
        ("frames", arrow.int64()),  # 0: refused or skipped
        ("refused", arrow.string()),  # the reason, or empty
        ("poses", arrow.large_binary()),
    ]
)


@dataclass(frozen=True)
class PosedFiles:
    """Batches (`parts`) with the joints of AMASS motions, the plan to write the clips, and the refused motions."""

    parts: list[Path]
    plan: Plan
    refused: dict[int, str]  # clip id -> reason
    statistics: dict[str, Any]

    def clips(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield clip id and joints (n, 17, 3) of each motion that was not refused, one at a time."""
        for clip_id, poses in enumerate(poses for row, poses in _rows(self.parts) if _is_clip(row)):
            if clip_id not in self.refused:
                yield clip_id, poses


def pose_files(stage: Stage, source: AmassFiles, workers: Workers) -> list[Path]:
    """Pose the bodies of all motion files and return one Parquet file per batch; finished batches are used again.

    Raises
    ------
    InputError
        A body model or regressor is invalid.
    """
    digest = stage.inputs["body_model"]
    _models(source.models, digest)  # refuses a bad model before any worker starts
    folder = stage.folder / POSED
    folder.mkdir(exist_ok=True)
    batches = _batches(source.files)
    parts = [folder / f"part-{number:05d}.parquet" for number in range(len(batches))]
    arguments = {number: (batches[number], part) for number, part in enumerate(parts) if not part.is_file()}
    stage.resumed = len(arguments) < len(parts)
    sizes = {number: sum(file.stat().st_size for file in batches[number].values()) for number in arguments}
    work = partial(pose_batch, source.models, digest)
    with report_progress(stage.name, "bytes", sum(sizes.values())) as progress:
        in_pool = sum(sizes.values()) >= WORTH_A_POOL
        for number, frames in run_batches(work, arguments, workers, in_pool, source.root):
            progress.advance(sizes[number], clips=len(batches[number]), frames=frames)
    return parts


def plan_posed(stage: Stage, source: AmassFiles, parts: list[Path], parameters: IngestParameters) -> PosedFiles:
    """Plan the ingest of the batches `parts`, which `pose_files` returned.

    Raises
    ------
    InputError
        No file has a motion that can be read, or the bodies contradict the unit or up axis of the parameters.
    """
    survey, without = Survey(), 0
    motions: list[Motion] = []
    refused: dict[int, str] = {}
    for row, poses in _rows(parts):
        if not _is_clip(row):
            without += 1
            continue
        survey.add(poses)
        if row["refused"]:
            refused[len(motions)] = row["refused"]
        motions.append(_motion(len(motions), source.files[row["file"]], row, poses.shape, parameters))
    if len(refused) == len(motions):
        reason = next(iter(refused.values()), "they contain no poses")
        raise InputError(f"{source.root}: no motion of AMASS in {len(source.files)} files, e.g. {reason}")
    check_evidence(source.root, survey.evidence(motions), parameters)
    file, name = MotionFile(source.root), data_name(source)
    labels = label_clips(motions, None, parameters)
    plan = FilePlan(
        file, name, 0, motions, labels, Layout.FRAMES_FIRST, legs_first_left=False, world=World("m", "z"), about="AMASS"
    )
    models = _models(source.models, stage.inputs["body_model"])
    joints_from = {f"{KINDS[bones]} {gender}": model.joints_from for (bones, gender), model in models.items()}
    skipped = {**source.skipped, "without poses": without}
    lists = (", ".join(f"{key}: {value}" for key, value in one.items()) for one in (joints_from, skipped))
    run_logger().info("joints of {}; skipped files: {}".format(*lists))
    warnings = label_warnings({name: labels}, parameters)
    return PosedFiles(parts, Plan([plan], warnings), refused, {"skipped": skipped, "joints_from": joints_from})


def pose_batch(body_models: tuple[Path, ...], digest: str, files: Mapping[int, Path], part: Path) -> int:
    """Write the joints of motion files (number -> path) to the Parquet file `part`; return the number of frames.

    A process loads the models once per `digest`, which identifies the content of `body_models`.
    """
    models, total = _models(body_models, digest), 0
    partial_file = part.with_suffix(".partial")
    with (
        threadpool_limits(1),  # the matrices are small, and threads of several processes would wait for each other
        parquet.ParquetWriter(partial_file, _SCHEMA, compression="none", use_dictionary=False) as writer,
    ):
        for number, path in files.items():
            row = {"file": number} | _pose_file(path, models)
            total += row["frames"]
            writer.write_batch(arrow.RecordBatch.from_pylist([row], schema=_SCHEMA))
    partial_file.replace(part)
    return total


@lru_cache(maxsize=1)  # the models of one digest per process
def _models(files: tuple[Path, ...], _digest: str) -> Models:
    return load_models(files)


def _pose_file(path: Path, models: Models) -> dict[str, Any]:
    row = {"fps": 0.0, "frames": 0, "refused": "", "poses": b""}
    try:
        motion = read_body_motion(path)
        if motion is None:
            return row
        model = model_of(motion, models)
        with np.errstate(all="ignore"):  # the clip contract finds coordinates that are not finite
            joints = model.joints(motion.betas).pose(motion.poses, motion.trans)
    except InputError as error:
        return row | {"refused": str(error)}
    return row | {"fps": motion.fps, "frames": len(joints), "poses": joints.tobytes()}


def _batches(files: tuple[Path, ...]) -> list[dict[int, Path]]:
    """Return batches of consecutive files (number -> path) with at least `_BATCH_BYTES`, except the last one."""
    batches: list[dict[int, Path]] = [{}]
    size = 0
    for number, file in enumerate(files):
        if size >= _BATCH_BYTES:
            batches.append({})
            size = 0
        batches[-1][number] = file
        size += file.stat().st_size
    return batches


def _motion(
    index: int, path: Path, row: dict[str, Any], shape: tuple[int, ...], parameters: IngestParameters
) -> Motion:
    """Return the motion of a file DATASET/SUBJECT/FILE.npz, with the name in AMASS's lists: DATASET_SUBJECT_FILE."""
    folders = path.absolute().parts[-3:]
    name = "_".join((*folders[:-1], path.stem))
    subject = "" if parameters.group_pattern else f"{dataset_of(name) or folders[0]}_{folders[1]}"
    return Motion(index, None, shape, name=name, subject=subject, fps=row["fps"] or None)


def _rows(parts: list[Path]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield each row of the batches, as a dict without the poses, and its poses (n, 17, 3)."""
    for part in parts:
        with parquet.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                (row,) = table.drop_columns("poses").to_pylist()
                poses = np.frombuffer(table["poses"][0].as_buffer(), "<f4")
                yield row, poses.reshape(-1, NUM_JOINTS, 3)


def _is_clip(row: dict[str, Any]) -> bool:
    return bool(row["frames"] or row["refused"])
