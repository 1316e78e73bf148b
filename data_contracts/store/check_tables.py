"""The contracts of the tables in a store: clips, windows, keypoints; every fault is counted."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet
from pandera.errors import SchemaErrors

from data_contracts.clips import (
    CLIP_SCHEMA,
    CLIPS_FILE,
    QUARANTINE_COLUMNS,
    QUARANTINE_FILE,
    SeenClips,
    find_faults,
    from_arrow,
    summarise,
)
from data_contracts.errors import InputError
from data_contracts.keypoints.table import KEYPOINT_SCHEMA, KEYPOINTS_FILE, SHORT_TRACK_COLUMNS, SHORT_TRACKS_FILE
from data_contracts.keypoints.table import find_faults as find_track_faults
from data_contracts.keypoints.table import summarise as summarise_tracks
from data_contracts.motion.bounds import find_faults as find_motion_faults
from data_contracts.motion.bounds import summarise as summarise_motions
from data_contracts.motion.motion import MOTION_FILE, read_motion
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.splits import SPLITS
from data_contracts.windows import SCALARS, array_shapes, split_files, to_numpy, validate, window_schema

OnShare = Callable[[float], None]  # called with the share in [0, 1] that is done

_ALWAYS_KNOWN = ("track", "video", "person", "frame", "pose_2d", "interpolated")  # of keypoints
_BYTES_OF_A_FRAME = 4 * NUM_JOINTS * 3


class Faults:
    """What is wrong, by file and check: the first case of each, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}
        self._count: Counter[tuple[str, str]] = Counter()

    def add(self, file: str, check: str, case: str, count: int = 1) -> None:
        """`count` cases of a fault, of which `case` tells one."""
        self._first.setdefault((file, check), case)
        self._count[file, check] += count

    def lines(self) -> list[str]:
        """A line for each file and check."""
        more = {key: f" (and {count - 1:,} more)" if count > 1 else "" for key, count in self._count.items()}
        return [f"{file}: {case}{more[file, check]}" for (file, check), case in self._first.items()]


def check_clips(folder: Path, manifest: dict[str, Any], faults: Faults, on_share: OnShare) -> int:
    """Hold the clips of an ingest folder to their contract, its manifest and its quarantine; returns their rows."""
    table = parquet.ParquetFile(folder / CLIPS_FILE, memory_map=True)
    if not _has_schema(table, CLIP_SCHEMA, CLIPS_FILE, faults):
        return 0
    seen, ids, groups, frames = SeenClips(), [], Counter[str](), 0
    for group in range(table.num_row_groups):
        rows = _complete_clips(table.read_row_group(group), faults)
        clips = [clip for batch in rows.to_batches() for clip in from_arrow(batch)]
        names = {clip.clip_id: clip.name for clip in clips}
        summaries = summarise(clips, seen)
        for fault in find_faults(summaries).itertuples(index=False):
            name = names[int(str(fault.clip_id))]
            case = f"clip {name}: {fault.check} {float(str(fault.value)):g} breaks {fault.bound}"
            faults.add(CLIPS_FILE, str(fault.check), case)
        for column in ("stature", "speed_max"):
            measured = np.array([row[column] for row in summaries])
            off = np.flatnonzero(~np.isclose(rows[column].to_numpy(), measured, rtol=1e-4))
            if len(off):
                case = f"clip {clips[off[0]].name}: its {column} is that of other poses"
                faults.add(CLIPS_FILE, f"{column} column", case, len(off))
        ids += [clip.clip_id for clip in clips]
        groups.update(clip.group for clip in clips)
        frames += sum(len(clip.poses) for clip in clips)
        on_share((group + 1) / table.num_row_groups)
    compare(CLIPS_FILE, "clip ids", len(set(ids)), len(ids), faults)
    compare(CLIPS_FILE, "clips", len(ids), manifest["counts"].get("clips"), faults)
    compare(CLIPS_FILE, "frames", frames, manifest["counts"].get("frames"), faults)
    compare(CLIPS_FILE, "clips by group", dict(groups), manifest["statistics"].get("groups"), faults)
    _check_quarantine(folder, manifest, set(ids), faults)
    return len(ids)


def _complete_clips(rows: arrow.Table, faults: Faults) -> arrow.Table:
    """Without the rows whose poses are not as many as their frames."""
    fit = compute.equal(compute.binary_length(rows["poses"]), compute.multiply(rows["frames"], _BYTES_OF_A_FRAME))
    fit = compute.fill_null(fit, False)
    for name in rows.filter(compute.invert(fit))["name"].to_pylist():
        faults.add(CLIPS_FILE, "poses", f"clip {name}: its poses have not the bytes of its frames")
    return rows.filter(fit)


def _check_quarantine(folder: Path, manifest: dict[str, Any], kept: set[int], faults: Faults) -> None:
    quarantine = pd.read_csv(folder / QUARANTINE_FILE)
    if tuple(quarantine.columns) != QUARANTINE_COLUMNS:
        faults.add(QUARANTINE_FILE, "columns", f"has columns {', '.join(map(str, quarantine.columns))}")
        return
    broken = set(quarantine["clip_id"])
    compare(QUARANTINE_FILE, "clips", len(broken), manifest["counts"].get("quarantined"), faults)
    for clip_id in sorted(broken & kept):
        faults.add(QUARANTINE_FILE, "kept", f"clip {clip_id} is in {CLIPS_FILE} all the same")


def check_keypoints(folder: Path, manifest: dict[str, Any], faults: Faults) -> int:
    """Hold the tracks of a keypoints folder to their contract, its manifest and its list of short ones."""
    file = parquet.ParquetFile(folder / KEYPOINTS_FILE)
    if not _has_schema(file, KEYPOINT_SCHEMA, KEYPOINTS_FILE, faults):
        return 0
    table = file.read()
    for name in _ALWAYS_KNOWN:
        if table[name].null_count:
            faults.add(KEYPOINTS_FILE, f"null {name}", f"column {name}: has no value in a row", table[name].null_count)
    if any(table[name].null_count for name in _ALWAYS_KNOWN):
        return len(table)
    summaries = summarise_tracks(table)
    for fault in find_track_faults(summaries).itertuples(index=False):
        case = f"track {fault.track}: {fault.check} {float(str(fault.value)):g} breaks {fault.bound}"
        faults.add(KEYPOINTS_FILE, str(fault.check), case)
    compare(KEYPOINTS_FILE, "track numbers", int(summaries["track"].nunique()), len(summaries), faults)
    compare(KEYPOINTS_FILE, "tracks", len(summaries), manifest["counts"].get("tracks"), faults)
    compare(KEYPOINTS_FILE, "frames", len(table), manifest["counts"].get("frames"), faults)
    short = pd.read_csv(folder / SHORT_TRACKS_FILE)
    if tuple(short.columns) != SHORT_TRACK_COLUMNS:
        faults.add(SHORT_TRACKS_FILE, "columns", f"has columns {', '.join(map(str, short.columns))}")
    compare(SHORT_TRACKS_FILE, "tracks", len(short), manifest["counts"].get("short_tracks"), faults)
    return len(table)


def check_motions(folder: Path, manifest: dict[str, Any], faults: Faults) -> int:
    """Hold the motions of a lift folder to their contract and its manifest; returns their frames."""
    motions = []
    for file in sorted(folder.glob(f"*/{MOTION_FILE}")):
        try:
            motions.append(read_motion(file))
        except InputError as error:
            faults.add(str(file.relative_to(folder)), "unreadable", str(error).removeprefix(f"{file}: "))
    for fault in find_motion_faults(summarise_motions(motions)).itertuples(index=False):
        case = f"{fault.check} {float(str(fault.value)):g} breaks {fault.bound}"
        faults.add(f"{fault.motion}/{MOTION_FILE}", str(fault.check), case)
    frames = sum(motion.frames for motion in motions)
    compare(MOTION_FILE, "people", len(motions), manifest["counts"].get("people"), faults)
    compare(MOTION_FILE, "frames", frames, manifest["counts"].get("frames"), faults)
    return frames


def check_windows(folder: Path, manifest: dict[str, Any], faults: Faults, on_share: OnShare) -> int:
    """Hold the windows of a convert folder to their contract, its manifest and each other; returns their rows."""
    schema = window_schema(manifest["parameters"]["window"])
    parts = [(split, path) for split in SPLITS for path in split_files(folder, split)]
    groups: dict[str, set[str]] = {split: set() for split in SPLITS}
    clips: dict[str, set[int]] = {split: set() for split in SPLITS}
    windows = dict.fromkeys(SPLITS, 0)
    ids: list[np.ndarray] = []  # 64-bit hashes of the window ids, part by part
    for done, (split, path) in enumerate(parts):
        file, table = str(path.relative_to(folder)), parquet.ParquetFile(path, memory_map=True)
        ids.append(np.empty(0, np.uint64))
        if not _has_schema(table, schema, file, faults):
            continue
        for row_group in range(table.num_row_groups):
            rows = table.read_row_group(row_group)
            scalars = rows.select(list(SCALARS)).to_pandas()
            _validate_windows(file, scalars, rows, faults)
            if (others := scalars["split"] != split).any():
                first = scalars.loc[others, "window_id"].iloc[0]
                faults.add(file, "split", f"window {first} is of another split", int(others.sum()))
            groups[split] |= set(scalars["group"].unique())
            clips[split] |= set(scalars["clip_id"].unique().tolist())
            windows[split] += len(scalars)
            hashes = pd.util.hash_pandas_object(scalars["window_id"], index=False, categorize=False)
            ids[-1] = np.append(ids[-1], hashes.to_numpy())
        on_share((done + 1) / len(parts))
    _check_unique(ids, [str(path.relative_to(folder)) for _, path in parts], faults)
    for number, split in enumerate(SPLITS):
        compare(split, "windows", windows[split], manifest["counts"]["windows"].get(split), faults)
        compare(split, "clips", len(clips[split]), manifest["counts"]["clips"].get(split), faults)
        for group in sorted(groups[split] - set(manifest["statistics"]["groups"][split])):
            faults.add(split, "group", f"group {group} is not among those of its split in the manifest")
        for other in SPLITS[:number]:
            for group in sorted(groups[split] & groups[other]):
                faults.add(split, "groups", f"group {group} is in split {other} too")
            for clip_id in sorted(clips[split] & clips[other]):
                faults.add(split, "clips", f"clip {clip_id} is in split {other} too")
    return sum(windows.values())


def _validate_windows(file: str, scalars: pd.DataFrame, rows: arrow.Table, faults: Faults) -> None:
    try:
        validate(scalars, {name: to_numpy(rows, name) for name in array_shapes(1)})
    except SchemaErrors as error:
        for case in error.failure_cases.itertuples(index=False):
            window = scalars["window_id"].iloc[int(case.index)]
            faults.add(file, case.column, f"window {window}: {case.column} {case.failure_case} breaks {case.check}")


def _check_unique(ids: list[np.ndarray], files: list[str], faults: Faults) -> None:
    hashes = np.concatenate([np.empty(0, np.uint64), *ids])
    order = np.argsort(hashes, kind="stable")
    repeated = order[1:][hashes[order][1:] == hashes[order][:-1]]
    for part in np.searchsorted(np.cumsum([len(part) for part in ids]), np.sort(repeated), side="right"):
        faults.add(files[part], "window_id", "a window_id stands here that stands before")


def _has_schema(table: parquet.ParquetFile, schema: arrow.Schema, file: str, faults: Faults) -> bool:
    if table.schema_arrow.equals(schema, check_metadata=True):
        return True
    faults.add(
        file, "schema", "its columns, or the shapes, units and axes in its schema, are not those of the contract"
    )
    return False


def compare(file: str, what: str, found: object, expected: object, faults: Faults) -> None:
    """A count that must be the one expected."""
    if found != expected:
        faults.add(file, f"count of {what}", f"{what}: {found}, expected {expected}")
