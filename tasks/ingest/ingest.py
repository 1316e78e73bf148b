"""Ingest motion files: read files safely, check their clips by the clip contract, and write one clip store.

A file with joints is read twice: the first pass plans (motions, layout, unit, axes), the second pass writes clips. One
thread reads a batch while another writes the previous batch. Two batches (27 MB each) and one array are in memory.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from data_contracts.bounds import describe_fault
from data_contracts.clips import (
    CLIP_SCHEMA,
    CLIPS_FILE,
    QUARANTINE_COLUMNS,
    QUARANTINE_FILE,
    Clip,
    ClipSummary,
    SeenClips,
    Summary,
    find_faults,
    summarise,
    to_arrow,
)
from data_contracts.errors import InputError, some
from data_contracts.parameters import GroupBy, IngestParameters, PipelineParameters
from data_contracts.skeleton import BONES, NUM_JOINTS
from data_contracts.sources import AmassFiles, MotionFile
from data_contracts.store.folders import Stage
from data_contracts.text import csv_text
from tasks.ingest.amass.posed_files import LICENCE, POSED, PosedFiles, plan_posed, pose_files
from tasks.ingest.clip_list import datasets
from tasks.ingest.formats.joint_sets import COCO
from tasks.ingest.layouts import to_frames_first
from tasks.ingest.plan import FilePlan, Plan, plan_reading, to_world
from tasks.ingest.reading import read_motion_file
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import StageProgress, report_progress
from tasks.tracking.runs import TrackedRun

FRAMES_PER_ROW_GROUP = 16_384
ROW_GROUPS_PER_BATCH = 8  # a table of summaries has a fixed cost, so batches are large
_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))


def ingest_clips(
    stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, source: Sequence[MotionFile] | AmassFiles
) -> None:
    """Write the clips of untrusted motion files to the clip store in the folder of `stage`.

    `source` has motion files with optional clip lists, or AMASS files, which are first converted to joints.

    Raises
    ------
    InputError
        A file is damaged (`RefusedPickle` if it contains more than arrays and plain containers), its layout, unit or up
        axis contradicts the parameters, a clip list does not match its file, or too many clips break the contract.
    """
    options, about = parameters.ingest, {"licence": parameters.ingest.licence}
    parts = pose_files(stage, source, parameters.workers) if isinstance(source, AmassFiles) else []
    try:
        if isinstance(source, AmassFiles):
            posed = plan_posed(stage, source, parts, options)
            writer = _write_posed(stage.folder, posed, options)
            about = {"licence": options.licence or LICENCE, **posed.statistics}
        else:
            writer = _write_files(stage, source, options)
        warnings = writer.plan.warnings + writer.finish(stage)
    except InputError:  # another run would end with the same error
        shutil.rmtree(stage.folder)
        stage.folder.mkdir()
        raise
    shutil.rmtree(stage.folder / POSED, ignore_errors=True)
    for line in warnings:
        run_logger().warning(line)
    stage.statistics |= {
        "source": some([file.name for file in writer.plan.files]),
        "data": stage.data,
        "warnings": warnings,
        **about,
    }
    tracked.log_artifact(stage.folder / QUARANTINE_FILE)


def _write_files(stage: Stage, source: Sequence[MotionFile], options: IngestParameters) -> "ClipWriter":
    """Write the clips of motion files with joints, and return the closed writer."""
    plan = plan_reading(source, options)
    size = sum(file.file.path.stat().st_size for file in plan.files)
    with report_progress(stage.name, "bytes", size) as progress, ClipWriter(stage.folder, plan, options) as writer:
        for file in plan.files:
            listed = file.file.clip_list or "none"
            run_logger().info(f"{file.name}: {len(file.motions)} clips ({file.about}), clip list: {listed}")
            writer.add_file(file, progress)
    return writer


def _write_posed(folder: Path, posed: PosedFiles, options: IngestParameters) -> "ClipWriter":
    """Write the clips of AMASS files that were posed, and return the closed writer."""
    with ClipWriter(folder, posed.plan, options) as writer:
        for clip_id, joints in posed.clips():
            writer.add(posed.plan.files[0], clip_id, joints)
        writer.refuse(posed.refused, "a motion of AMASS")
    return writer


class ClipWriter:
    """Write valid clips to `clips.parquet` in a `with` block; then `finish` writes faults to `quarantine.csv`."""

    def __init__(self, folder: Path, plan: Plan, parameters: IngestParameters) -> None:
        self.folder, self.plan, self.parameters = folder, plan, parameters
        self.batch: list[Clip] = []
        self.batch_values = 0
        self.seen: SeenClips = {}
        self.faults: list[pd.DataFrame] = []
        self.skeletons: defaultdict[tuple[int, ...], set[str]] = defaultdict(set)
        self.parquet = parquet.ParquetWriter(
            folder / CLIPS_FILE, CLIP_SCHEMA, compression="none", use_dictionary=False, write_statistics=False
        )
        self.background = ThreadPoolExecutor(1, "write-clips")
        self.pending: Future[None] | None = None

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exception_type is None:
                self._submit_batch()
                self._wait()
        finally:
            self.background.shutdown()
            self.parquet.close()

    def add_file(self, file: FilePlan, progress: StageProgress) -> None:
        """Read a motion file a second time, and add the clips of each array to the batch."""
        rows: defaultdict[int, list[int]] = defaultdict(list)
        for row, motion in enumerate(file.motions):
            rows[motion.array].append(row)
        arrays = count()

        def add(array: np.ndarray) -> None:
            frames, of_array = 0, rows[next(arrays)]
            for row in of_array:
                frames += self.add(file, row, array)
            progress.advance(array.nbytes, clips=len(of_array), frames=frames)

        read_motion_file(file.file.path, add)

    def add(self, file: FilePlan, row: int, array: np.ndarray) -> int:
        """Add one clip of a file to the batch, and return its number of frames."""
        clip = self._clip(file, row, array)
        self.batch.append(clip)
        self.batch_values += clip.poses.size
        if self.batch_values >= ROW_GROUPS_PER_BATCH * FRAMES_PER_ROW_GROUP * NUM_JOINTS * 3:
            self._submit_batch()
        return len(clip.poses)

    def refuse(self, reasons: Mapping[int, str], expected: str) -> None:
        """Put clips that could not be read (clip id -> reason) in quarantine."""
        rows = [(clip_id, "file", csv_text(reason), expected) for clip_id, reason in reasons.items()]
        self.faults.append(pd.DataFrame(rows, columns=["clip_id", "check", "value", "bound"]))

    def _clip(self, plan: FilePlan, row: int, array: np.ndarray) -> Clip:
        part, label = plan.motions[row].part, plan.labels[row]
        poses = to_frames_first(array if part is None else array[part], plan.layout)
        if plan.about == COCO.name and poses.ndim == 3 and poses.shape[1] == NUM_JOINTS:
            poses = COCO.convert(poses)
        poses = to_world(poses, plan.world.unit, plan.world.up, plan.legs_first_left)
        if label.frames not in (None, len(poses)):
            raise InputError(
                f"{plan.file.clip_list}: row {row} ({label.name}) has clip_len {label.frames}, but the clip in"
                f" {plan.file.path} has {len(poses)} frames; pass the clip list of this motion file"
            )
        return Clip(plan.first + row, label.name, label.group, label.action, label.fps, poses)

    def _submit_batch(self) -> None:
        self._wait()
        if self.batch:
            self.pending = self.background.submit(self._write, self.batch)
        self.batch, self.batch_values = [], 0

    def _wait(self) -> None:
        if self.pending is not None:
            self.pending.result()  # raises the error of the batch

    def _write(self, batch: list[Clip]) -> None:
        summaries = summarise(batch, self.seen)  # few long operations, because each one waits for the GIL
        faults = pd.concat([find_faults(summaries), self._too_short(batch)]).astype({"clip_id": int})
        self.faults.append(faults)
        broken = set(faults["clip_id"])
        valid = [(clip, row) for clip, row in zip(batch, summaries, strict=True) if clip.clip_id not in broken]
        for group in _row_groups(valid):
            self.parquet.write_batch(to_arrow([clip for clip, _ in group], [row for _, row in group]))
        self._note_skeletons([clip for clip, _ in valid])

    def _too_short(self, batch: list[Clip]) -> pd.DataFrame:
        shortest = self.parameters.min_frames
        bound = f"greater_than_or_equal_to({shortest})"
        short = [clip for clip in batch if clip.poses.ndim == 3 and 2 <= len(clip.poses) < shortest]
        rows = [(clip.clip_id, "min_frames", len(clip.poses), bound) for clip in short]
        return pd.DataFrame(rows, columns=["clip_id", "check", "value", "bound"])

    def _note_skeletons(self, clips: list[Clip]) -> None:
        middles = np.array([clip.poses[len(clip.poses) // 2] for clip in clips]).reshape(-1, NUM_JOINTS, 3)
        limbs = np.linalg.norm(middles[:, _CHILD] - middles[:, _PARENT], axis=-1)[:, [1, 2, 4, 5, 11, 12, 14, 15]]
        for clip, limbs_mm in zip(clips, np.rint(limbs * 1000).astype(int).tolist(), strict=True):
            self.skeletons[tuple(limbs_mm)].add(clip.group)

    def finish(self, stage: Stage) -> list[str]:
        """Write `quarantine.csv`, add counts and statistics to the stage, and return warnings."""
        columns = ["clip_id", "group", "frames", "stature"]
        table = parquet.read_table(self.folder / CLIPS_FILE, columns=columns).to_pandas()
        faults = pd.concat(self.faults)
        faults["file"] = [self.plan.files[self.plan.file_of(clip_id)].name for clip_id in faults["clip_id"]]
        faults["name"] = [self.plan.clips[clip_id].name for clip_id in faults["clip_id"]]
        self._refuse_too_many(faults, len(table))
        written = faults.assign(**{column: faults[column].map(csv_text) for column in ("file", "name")})
        written[list(QUARANTINE_COLUMNS)].to_csv(self.folder / QUARANTINE_FILE, index=False)
        groups = table["group"].value_counts().sort_index().to_dict()
        stature = table["stature"].astype(float).agg(["min", "median", "max"])
        of_group = datasets(self.plan.clips)
        accepted = Counter(map(self.plan.file_of, table["clip_id"]))
        files = [
            {
                "file": plan.name,
                "clip_list": plan.file.clip_list and plan.file.clip_list.name,
                "layout": plan.layout,
                "about": plan.about,
                "first_clip": plan.first,
                "clips": accepted[index],
                "quarantined": len(plan.motions) - accepted[index],
            }
            for index, plan in enumerate(self.plan.files)
        ]
        shared = [sorted(names) for names in self.skeletons.values() if len(names) > 1]
        stage.counts |= {
            "clips": len(table),
            "frames": int(table["frames"].sum()),
            "quarantined": len(self.plan.clips) - len(table),
        }
        stage.statistics |= {
            "files": files,
            "groups": groups,
            "datasets": {str(group): of_group[str(group)] for group in groups},
            "stature_m": {name: round(float(value), 3) for name, value in stature.items()},
            "checks_broken": faults.groupby("check")["clip_id"].nunique().to_dict(),
            "shared_skeletons": shared,
        }
        warnings = [f"{f['file']}: all {f['quarantined']} clips are in quarantine" for f in files if not f["clips"]]
        if shared and self.parameters.group_by is GroupBy.SUBJECT:
            same = some([f"({some(names)})" for names in shared])
            warnings.append(f"groups with equal bone lengths may be one subject: {same}; if so, give them one name")
        return warnings

    def _refuse_too_many(self, faults: pd.DataFrame, accepted: int) -> None:
        clips, files = len(self.plan.clips), self.plan.files
        broken = faults[faults["check"] != "min_frames"].drop_duplicates("clip_id")
        where = str(files[0].file.path) if len(files) == 1 else some([file.name for file in files])
        if len(broken) > self.parameters.max_quarantined * clips:
            counts = broken["file"].value_counts()
            most = "" if len(files) == 1 else f" ({counts.iloc[0]} of them in {counts.index[0]})"
            raise InputError(
                f"{where}: {len(broken)} of {clips} clips break the clip contract{most}, more than"
                f" ingest.max_quarantined={self.parameters.max_quarantined:g} allows: {_describe_faults(faults)};"
                " correct these clips, check ingest.unit and ingest.up, or pass --set ingest.max_quarantined=..."
            )
        if not accepted:
            raise InputError(
                f"{where}: all clips are in quarantine; failed checks: {_describe_faults(faults)}; correct these clips,"
                f" or pass a smaller --set ingest.min_frames (now {self.parameters.min_frames} frames)"
            )


def _row_groups(rows: list[tuple[Clip, Summary]]) -> list[list[tuple[Clip, Summary]]]:
    groups: list[list[tuple[Clip, Summary]]] = []
    frames = FRAMES_PER_ROW_GROUP
    for clip, summary in rows:
        if frames >= FRAMES_PER_ROW_GROUP:
            groups.append([])
            frames = 0
        groups[-1].append((clip, summary))
        frames += len(clip.poses)
    return groups


def _describe_faults(faults: pd.DataFrame) -> str:
    """Return a text with each failed check, the number of its clips, and the value and bound of its first clip."""
    lines = []
    for check, rows in faults.groupby("check", sort=False):
        first = rows.iloc[0]
        example = f"clip {first['name']} of {first['file']}: {describe_fault(ClipSummary, first)}"
        lines.append(f"{check} in {rows['clip_id'].nunique()} ({example})")
    return "; ".join(lines) or "no clips"
