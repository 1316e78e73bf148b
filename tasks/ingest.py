"""AMASS pickle -> clip store: read safely, checked against the clip contract, one pass over the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from data_contracts import identities
from data_contracts.clips import (
    CLIP_SCHEMA,
    CLIPS_FILE,
    QUARANTINE_COLUMNS,
    QUARANTINE_FILE,
    Clip,
    find_faults,
    summarise,
    to_arrow,
)
from data_contracts.errors import InputError
from data_contracts.parameters import GroupBy, IngestParameters
from data_contracts.report import StageResult
from data_contracts.skeleton import BONES, NUM_JOINTS
from data_contracts.store import open_stage
from tasks.safe_pickle import read_pickle
from tasks.tracking import track_stage

FRAMES_PER_ROW_GROUP = 16_384
_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))


@task(cache_policy=NO_CACHE)
def ingest_clips(
    store: Path, source: Path, clip_list: Path | None, parameters: IngestParameters, parent_run: str | None = None
) -> StageResult:
    """Clips of an AMASS pickle as a clip store.

    Parameters
    ----------
    source
        Pickle: a list of float arrays (17, frames, 3), metres, z up.
    clip_list
        CSV with a row per clip, in the list's order: `fname`, and where known `subject`, `action`, `fps`, `clip_len`.

    Raises
    ------
    RefusedPickle
        The pickle is damaged or asks for more than arrays and plain containers.
    InputError
        A file is missing, the clip list does not fit the pickle, or too many clips break the contract.
    """
    with (
        open_stage(store, identities.ingest(source, clip_list, parameters)) as stage,
        track_stage(store, stage, parent_run) as tracked,
    ):
        if not stage.cached:
            writer = _ClipWriter(stage.folder, _read_clip_list(clip_list), parameters)
            with writer:
                tree = read_pickle(source, writer.add)
            writer.check_complete(tree, source)
            stage.counts |= writer.counts()
            stage.statistics |= {"source": source.name, **writer.statistics()}
            for line in writer.warnings():
                get_run_logger().warning(line)
            tracked.log_artifact(stage.folder / QUARANTINE_FILE)
    return StageResult.of(stage)


class _ClipWriter:
    """Takes arrays in file order, checks them a batch at a time, and writes clips and quarantine."""

    def __init__(self, folder: Path, clip_list: pd.DataFrame | None, parameters: IngestParameters) -> None:
        self.folder = folder
        self.clip_list = clip_list
        self.parameters = parameters
        self.seen = 0
        self.batch: list[Clip] = []
        self.quarantine: list[pd.DataFrame] = []
        self.kept: list[dict[str, Any]] = []
        self.skeletons: dict[tuple[int, ...], set[str]] = {}

    def __enter__(self) -> "_ClipWriter":
        self.parquet = parquet.ParquetWriter(
            self.folder / CLIPS_FILE, CLIP_SCHEMA, compression="none", use_dictionary=False, write_statistics=False
        )
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if exception_type is None:
            self._flush()
        self.parquet.close()

    def add(self, array: np.ndarray) -> int:
        """Take the next array of the pickle; returns its index, which stands in its place in the tree."""
        index = self.seen
        self.seen += 1
        poses = array.transpose(1, 0, 2) if array.ndim == 3 and array.shape[0] == NUM_JOINTS else array
        if poses.ndim != 3 or poses.shape[2] != 3:
            raise InputError(f"array {index}: shape {array.shape}; expected (17, frames, 3)")
        self.batch.append(self._describe(index, np.ascontiguousarray(poses, dtype=np.float32)))
        if sum(len(clip.poses) for clip in self.batch) >= FRAMES_PER_ROW_GROUP:
            self._flush()
        return index

    def _describe(self, index: int, poses: np.ndarray) -> Clip:
        if self.clip_list is None:
            name = f"clip_{index:06d}"
            return Clip(index, name, name, "unknown", self.parameters.fps, poses)
        if index >= len(self.clip_list):
            raise InputError(
                f"the clip list has {len(self.clip_list)} rows, the pickle more arrays: they do not belong together"
            )
        row = self.clip_list.iloc[index]
        if row["clip_len"] not in ("", str(len(poses))):
            raise InputError(
                f"clip list row {index} ({row['fname']}) says {row['clip_len']} frames, the pickle has {len(poses)}:"
                " they do not belong together"
            )
        group = {
            GroupBy.SUBJECT: row["subject"] or row["fname"],
            GroupBy.RECORDING: row["fname"],
            GroupBy.CLIP: f"{row['fname']}#{index}",
        }[self.parameters.group_by]
        fps = float(row["fps"] or self.parameters.fps)
        return Clip(index, row["fname"], group, row["action"] or "unknown", fps, poses)

    def _flush(self) -> None:
        if not self.batch:
            return
        summaries = [summarise(clip.clip_id, clip.poses, clip.fps) for clip in self.batch]
        faults = pd.concat([find_faults(summaries), self._too_short()])
        broken = set(faults["clip_id"])
        names = {clip.clip_id: clip.name for clip in self.batch}
        self.quarantine.append(faults.assign(name=faults["clip_id"].map(names))[list(QUARANTINE_COLUMNS)])
        good = [
            (clip, summary) for clip, summary in zip(self.batch, summaries, strict=True) if clip.clip_id not in broken
        ]
        if good:
            clips, kept = [clip for clip, _ in good], [summary for _, summary in good]
            self.parquet.write_batch(to_arrow(clips, kept))
            for clip, summary in good:
                self.kept.append({"frames": len(clip.poses), "group": clip.group, "stature": summary["stature"]})
                self._note_skeleton(clip)
        self.batch = []

    def _too_short(self) -> pd.DataFrame:
        short = [c for c in self.batch if 2 <= len(c.poses) < self.parameters.min_frames]
        return pd.DataFrame(
            {
                "clip_id": [clip.clip_id for clip in short],
                "check": "min_frames",
                "value": [len(clip.poses) for clip in short],
                "bound": f"greater_than_or_equal_to({self.parameters.min_frames})",
            }
        )

    def _note_skeleton(self, clip: Clip) -> None:
        middle = clip.poses[len(clip.poses) // 2]
        bones = np.linalg.norm(middle[_CHILD] - middle[_PARENT], axis=-1)
        key = tuple(np.rint(bones[[1, 2, 4, 5, 11, 12, 14, 15]] * 1000).astype(int).tolist())  # limbs, mm
        self.skeletons.setdefault(key, set()).add(clip.group)

    def check_complete(self, tree: object, source: Path) -> None:
        """Refuse a pickle that is no list of arrays, or has other clips than the list; write the quarantine file."""
        if not isinstance(tree, list) or len(tree) != self.seen:
            raise InputError(f"{source}: expected a list of arrays (17, frames, 3), found {type(tree).__name__}")
        if self.clip_list is not None and self.seen != len(self.clip_list):
            raise InputError(f"{source} holds {self.seen} arrays, the clip list {len(self.clip_list)} rows")
        faults = pd.concat(self.quarantine) if self.quarantine else pd.DataFrame(columns=QUARANTINE_COLUMNS)
        broken = faults.loc[faults["check"] != "min_frames", "clip_id"].nunique()
        if broken > self.parameters.max_quarantined * self.seen:
            raise InputError(
                f"{source}: {broken} of {self.seen} clips break the clip contract, more than"
                f" ingest.max_quarantined={self.parameters.max_quarantined:g} allows: {_digest_of_faults(faults)}"
            )
        if not self.kept:
            raise InputError(f"{source}: no clip is left; {_digest_of_faults(faults)}")
        faults.to_csv(self.folder / QUARANTINE_FILE, index=False)

    def counts(self) -> dict[str, int]:
        """Clips and frames written, and clips that stand in the quarantine file."""
        return {
            "clips": len(self.kept),
            "frames": sum(row["frames"] for row in self.kept),
            "quarantined": self.seen - len(self.kept),
        }

    def statistics(self) -> dict[str, Any]:
        """Groups with their clips, stature in metres, and groups whose clips share one skeleton to the millimetre."""
        table = pd.DataFrame(self.kept)
        return {
            "groups": table["group"].value_counts().sort_index().to_dict(),
            "stature_m": {
                name: round(float(getattr(table["stature"], name)()), 3) for name in ("min", "median", "max")
            },
            "shared_skeletons": [sorted(groups) for groups in self.skeletons.values() if len(groups) > 1],
        }

    def warnings(self) -> list[str]:
        """What a person should know about the groups before trusting a split."""
        lines = []
        if self.clip_list is None or self.parameters.group_by is not GroupBy.SUBJECT:
            lines.append("groups are not people: one person may stand in two splits")
            return lines
        for groups in self.statistics()["shared_skeletons"]:
            lines.append(
                f"groups {', '.join(groups)} have the same bone lengths: they may be one person under several names"
            )
        return lines


def _read_clip_list(path: Path | None) -> pd.DataFrame | None:
    if path is None:
        return None
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable clip list ({error})") from error
    if "fname" not in table:
        raise InputError(f"{path}: a clip list needs a column fname; found {', '.join(table.columns)}")
    for column in ("subject", "action", "fps", "clip_len"):
        if column not in table:
            table[column] = ""
    return table


def _digest_of_faults(faults: pd.DataFrame) -> str:
    """The most frequent checks, each with one clip and its value."""
    lines = []
    for check, rows in faults.groupby("check", sort=False):
        first = rows.iloc[0]
        value = first["value"]
        value = f"{value:.4g}" if isinstance(value, float) else value
        lines.append(f"{check} in {rows['clip_id'].nunique()} (clip {first['name']}: {value}, bound {first['bound']})")
    return "; ".join(lines) or "no clips"
