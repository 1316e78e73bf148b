"""Write the clips of motion files during the second pass: check each batch, then write it as Parquet.

Reading, checking and writing run in three threads on successive batches, so three batches (27 MB each) and one array
are in memory.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from data_contracts.clips import (
    CLIP_SCHEMA,
    CLIPS_FILE,
    QUARANTINE_COLUMNS,
    QUARANTINE_FILE,
    Clip,
    SeenClips,
    find_faults,
    summarise,
    to_arrow,
)
from data_contracts.errors import InputError, some
from data_contracts.parameters import GroupBy, IngestParameters
from data_contracts.skeleton import BONES, NUM_JOINTS
from data_contracts.text import csv_text
from tasks.ingest.axes import to_frames_first
from tasks.ingest.clip_list import datasets
from tasks.ingest.evidence import to_world
from tasks.ingest.plan import FilePlan, Plan

FRAMES_PER_ROW_GROUP = 16_384
ROW_GROUPS_PER_BATCH = 8  # a table of summaries has a fixed cost, so batches are large
_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))


class ClipWriter:
    """Write accepted clips to `clips.parquet` and, at `finish`, the faults of the others to `quarantine.csv`."""

    def __init__(self, folder: Path, plan: Plan, parameters: IngestParameters) -> None:
        self.folder, self.plan, self.parameters = folder, plan, parameters
        self.batch_values = 0
        self.batch: list[Clip] = []
        self.seen = SeenClips()
        self.faults: list[pd.DataFrame] = []
        self.accepted: list[dict[str, Any]] = []
        self.skeletons: dict[tuple[int, ...], set[str]] = {}

    def __enter__(self) -> "ClipWriter":
        self.parquet = parquet.ParquetWriter(
            self.folder / CLIPS_FILE, CLIP_SCHEMA, compression="none", use_dictionary=False, write_statistics=False
        )
        self.checking, self.writing = _BackgroundStep("check-clips"), _BackgroundStep("write-clips")
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exception_type is None:
                self._submit_batch()
                self.checking.wait()
                self.writing.wait()
        finally:
            self.checking.stop()
            self.writing.stop()
            self.parquet.close()

    def begin(self, file: FilePlan) -> None:
        """Start a file: the arrays passed to `add` from now on belong to it."""
        self.file, self.arrays_seen = file, 0
        self.by_array: dict[int, list[int]] = {}
        for row, motion in enumerate(file.motions):
            self.by_array.setdefault(motion.array, []).append(row)

    def add(self, array: np.ndarray) -> tuple[int, int]:
        """Add the next array of the file, and return the numbers of its clips and of their frames."""
        clips = frames = 0
        for row in self.by_array.get(self.arrays_seen, ()):
            clip = self._clip(row, array)
            clips, frames = clips + 1, frames + len(clip.poses)
            self.batch.append(clip)
            self.batch_values += clip.poses.size
            if self.batch_values >= ROW_GROUPS_PER_BATCH * FRAMES_PER_ROW_GROUP * NUM_JOINTS * 3:
                self._submit_batch()
        self.arrays_seen += 1
        return clips, frames

    def _clip(self, row: int, array: np.ndarray) -> Clip:
        plan = self.file
        part, label = plan.motions[row].part, plan.labels.clips[row]
        poses = to_frames_first(array if part is None else array[part], plan.layout)
        poses = to_world(poses, self.parameters.unit, self.parameters.up, plan.legs_first_left)
        if label.frames not in (None, len(poses)):
            raise InputError(
                f"{plan.file.clip_list}: row {row} ({label.name}) has clip_len {label.frames}, but the clip in"
                f" {plan.file.path} has {len(poses)} frames: they do not belong together"
            )
        return Clip(plan.first + row, label.name, label.group, label.action, label.fps, poses)

    def _submit_batch(self) -> None:
        batch, self.batch, self.batch_values = self.batch, [], 0
        if batch:
            self.checking.submit(self._check, batch)

    def _check(self, batch: list[Clip]) -> None:
        summaries = summarise(batch, self.seen)  # few, long operations: each one waits for the GIL
        faults = pd.concat([find_faults(summaries), self._too_short(batch)]).astype({"clip_id": int})
        broken = set(faults["clip_id"])
        files = [self.plan.files[self.plan.file_of(clip_id)].name for clip_id in faults["clip_id"]]
        names = [self.plan.clips[clip_id].name for clip_id in faults["clip_id"]]
        self.faults.append(faults.assign(file=files, name=names)[list(QUARANTINE_COLUMNS)])
        summary = {clip.clip_id: row for clip, row in zip(batch, summaries, strict=True)}
        accepted = [clip for clip in batch if clip.clip_id not in broken]
        self.writing.submit(self._write, accepted, summary)
        for clip in accepted:
            row = summary[clip.clip_id]
            frames = len(clip.poses)
            self.accepted.append(
                {
                    "file": self.plan.file_of(clip.clip_id),
                    "group": clip.group,
                    "frames": frames,
                    "seconds": frames / clip.fps,
                    "stature": row["stature"],
                    "speed_max": row["speed_max"],
                }
            )
        self._note_skeletons(accepted)

    def _write(self, clips: list[Clip], summary: dict[int, dict[str, float | int]]) -> None:
        for group in _row_groups(clips):
            self.parquet.write_batch(to_arrow(group, [summary[clip.clip_id] for clip in group]))

    def _too_short(self, batch: list[Clip]) -> pd.DataFrame:
        short = [clip for clip in batch if clip.poses.ndim == 3 and 2 <= len(clip.poses) < self.parameters.min_frames]
        return pd.DataFrame(
            {
                "clip_id": [clip.clip_id for clip in short],
                "check": "min_frames",
                "value": [len(clip.poses) for clip in short],
                "bound": f"greater_than_or_equal_to({self.parameters.min_frames})",
            }
        )

    def _note_skeletons(self, clips: list[Clip]) -> None:
        middles = np.array([clip.poses[len(clip.poses) // 2] for clip in clips]).reshape(-1, NUM_JOINTS, 3)
        limbs = np.linalg.norm(middles[:, _CHILD] - middles[:, _PARENT], axis=-1)[:, [1, 2, 4, 5, 11, 12, 14, 15]]
        for clip, limbs_mm in zip(clips, np.rint(limbs * 1000).astype(int).tolist(), strict=True):
            self.skeletons.setdefault(tuple(limbs_mm), set()).add(clip.group)

    def finish(self) -> None:
        """Write the quarantine file.

        Raises
        ------
        InputError
            Too many clips of all files together break the contract, or no clip is accepted.
        """
        faults, clips, files = pd.concat(self.faults), len(self.plan.clips), self.plan.files
        broken = faults[faults["check"] != "min_frames"].drop_duplicates("clip_id")
        where = str(files[0].file.path) if len(files) == 1 else some([file.name for file in files])
        if len(broken) > self.parameters.max_quarantined * clips:
            counts = broken["file"].value_counts()
            most = "" if len(files) == 1 else f", {counts.iloc[0]} of them of {counts.index[0]}"
            raise InputError(
                f"{where}: {len(broken)} of {clips} clips break the clip contract{most}, more than"
                f" ingest.max_quarantined={self.parameters.max_quarantined:g} allows: {_describe_faults(faults)}"
            )
        if not self.accepted:
            raise InputError(f"{where}: all clips are in quarantine; {_describe_faults(faults)}")
        written = faults.assign(**{column: faults[column].map(csv_text) for column in ("file", "name")})
        written.to_csv(self.folder / QUARANTINE_FILE, index=False)

    def counts(self) -> dict[str, int]:
        """Return the numbers of clips and frames written, and of clips in the quarantine file."""
        frames = sum(row["frames"] for row in self.accepted)
        return {"clips": len(self.accepted), "frames": frames, "quarantined": len(self.plan.clips) - len(self.accepted)}

    def warnings(self) -> list[str]:
        """Return warnings about files without an accepted clip, and about groups that may be one subject."""
        empty = [file for file in self._files() if not file["clips"]]
        lines = [f"{file['file']}: all {file['quarantined']} clips are in quarantine" for file in empty]
        if self.parameters.group_by is GroupBy.SUBJECT:
            lines += [
                f"groups {', '.join(groups)} have the same bone lengths: they may be one subject with several names"
                for groups in self._shared_skeletons()
            ]
        return lines

    def statistics(self) -> dict[str, Any]:
        """Return files, groups with clip counts and data sets, stature (m), broken checks and shared skeletons."""
        table, faults = self.table(), pd.concat(self.faults)
        groups = table["group"].value_counts().sort_index().to_dict()
        stature = {name: round(float(getattr(table["stature"], name)()), 3) for name in ("min", "median", "max")}
        of_group = datasets(self.plan.clips)
        return {
            "files": self._files(),
            "groups": groups,
            "datasets": {str(group): of_group[str(group)] for group in groups},
            "stature_m": stature,
            "checks_broken": faults.groupby("check")["clip_id"].nunique().to_dict(),
            "shared_skeletons": self._shared_skeletons(),
        }

    def _files(self) -> list[dict[str, Any]]:
        accepted = np.bincount([row["file"] for row in self.accepted], minlength=len(self.plan.files)).tolist()
        return [
            {
                "file": plan.name,
                "clip_list": plan.file.clip_list and plan.file.clip_list.name,
                "layout": plan.layout,
                "first_clip": plan.first,
                "clips": clips,
                "quarantined": len(plan.motions) - clips,
            }
            for plan, clips in zip(self.plan.files, accepted, strict=True)
        ]

    def _shared_skeletons(self) -> list[list[str]]:
        return [sorted(shared) for shared in self.skeletons.values() if len(shared) > 1]

    def table(self) -> pd.DataFrame:
        """Return one row per accepted clip: file, group, frames, seconds, stature (m), speed_max (m/s)."""
        return pd.DataFrame(self.accepted)


class _BackgroundStep:
    """A thread with at most one pending job; `submit` first waits for the previous job and raises its error."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._pending: Future[None] | None = None

    def submit(self, work: Callable[..., None], *arguments: object) -> None:
        self.wait()
        self._pending = self._executor.submit(work, *arguments)

    def wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def stop(self) -> None:
        self._executor.shutdown(cancel_futures=True)


def _row_groups(clips: list[Clip]) -> list[list[Clip]]:
    """Divide clips into row groups, in order."""
    groups: list[list[Clip]] = []
    frames = FRAMES_PER_ROW_GROUP
    for clip in clips:
        if frames >= FRAMES_PER_ROW_GROUP:
            groups.append([])
            frames = 0
        groups[-1].append(clip)
        frames += len(clip.poses)
    return groups


def _describe_faults(faults: pd.DataFrame) -> str:
    """Describe each broken check: its number of clips, and one clip with value and bound."""
    lines = []
    for check, rows in faults.groupby("check", sort=False):
        first = rows.iloc[0]
        value = first["value"]
        value = f"{value:.4g}" if isinstance(value, float) else value
        place = f"clip {first['name']} of {first['file']}"
        lines.append(f"{check} in {rows['clip_id'].nunique()} ({place}: {value}, bound {first['bound']})")
    return "; ".join(lines) or "no clips"
