"""Convert one batch of clips to windows of virtual cameras, split by group, as Parquet.

- A batch (a row group of the clip table) writes one file per split. The files depend on no other batch, so the number
  of workers and repeated batches do not change them.
- Windows are cut directly into the memory that is validated and written, `BYTES_AT_ONCE` at a time. So the memory of
  a worker does not grow with the number of views.
"""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from data_contracts.bounds import describe_fault
from data_contracts.clips import CLIPS_FILE, Clip, from_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, ShortClips
from data_contracts.splits import SPLITS, split_groups
from data_contracts.store.manifests import read_manifest
from data_contracts.windows import SCALARS, WindowSummary, find_faults, to_arrow, window_schema
from tasks.convert.cameras import Camera, angles_deg, cut_windows, draw_camera, empty_windows, window_starts

BYTES_AT_ONCE = 64 << 20
ROW_GROUP_BYTES = 16 << 20
COUNTS = ["clips", "too_short", "frames", "windows"]


def write_windows(clips: Path, folder: Path, batch: int, parameters: ConvertParameters) -> pd.DataFrame:
    """Write the windows of one batch of clips to `folder/<split>/part-<batch>.parquet`.

    Return `COUNTS` by (split, group); `frames` counts the frames of clips with windows, at the rate of the windows.

    Raises
    ------
    InputError
        A window breaks the contract; the message has the clip, the window, the check, the value and the bound.
    """
    splits = split_groups(read_manifest(clips)["statistics"], parameters)
    rows = parquet.ParquetFile(clips / CLIPS_FILE).read_row_group(batch)
    batch_clips = [clip for record_batch in rows.to_batches() for clip in from_arrow(record_batch)]
    pad = parameters.short_clips is ShortClips.PAD
    counts = []
    with WindowParts(folder, batch, parameters.window) as parts:
        for clip in sorted(batch_clips, key=lambda clip: SPLITS.index(splits[clip.group])):
            split, clip = splits[clip.group], resample(clip, parameters.fps or clip.fps)
            starts = window_starts(len(clip.poses), parameters.window, parameters.stride, pad)
            views = parameters.views_of(split)
            for view in range(views) if len(starts) else ():
                camera = draw_camera(clip.poses, clip.clip_id, view, parameters)
                parts.add(clip, split, view, camera, starts)
            is_cut = bool(len(starts))
            counts.append((split, clip.group, is_cut, not is_cut, is_cut * len(clip.poses), len(starts) * views))
    return pd.DataFrame(counts, columns=["split", "group", *COUNTS]).groupby(["split", "group"]).sum()


def resample(clip: Clip, fps: float) -> Clip:
    """Resample a clip to another frame rate by linear interpolation at the times i / `fps` from its first frame."""
    if fps == clip.fps:
        return clip
    last = len(clip.poses) - 1
    frames = int(last * fps / clip.fps + 1e-6) + 1
    place = np.minimum(np.arange(frames) * clip.fps / fps, last)  # in frames of the clip
    before = place.astype(np.int64)
    after = np.minimum(before + 1, last)
    poses = clip.poses[before].astype(np.float64)
    poses += (place - before)[:, None, None] * (clip.poses[after] - poses)
    return replace(clip, fps=fps, poses=poses.astype(np.float32))


class WindowParts:
    """Collect windows of one batch in memory, validate them together, and write one Parquet file per split.

    A file has a temporary name until it is complete.
    """

    def __init__(self, folder: Path, batch: int, window: int) -> None:
        self.folder, self.file, self.window = folder, f"part-{batch:05d}.parquet", window
        self.window_bytes = sum(a.nbytes for a in empty_windows(1, window).values())
        self.arrays = empty_windows(max(1, BYTES_AT_ONCE // self.window_bytes), window)
        self.filled = 0
        self.views: list[dict[str, Any]] = []  # columns that all windows of one view of a clip share
        self.windows: list[pd.DataFrame] = []  # columns that differ between the windows of one view
        self.writers: dict[str, parquet.ParquetWriter] = {}
        self.mark = f".{uuid.uuid4().hex}.partial"

    def __enter__(self) -> "WindowParts":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if exception_type is None and self.filled:
            self._flush()
        for split, writer in self.writers.items():
            writer.close()
            partial = self.folder / split / (self.file + self.mark)
            if exception_type is None:
                partial.replace(self.folder / split / self.file)
            else:
                partial.unlink()

    def add(self, clip: Clip, split: str, view: int, camera: Camera, starts: np.ndarray) -> None:
        """Cut one view of a clip into windows that begin at the frames `starts` (n,)."""
        points = camera.to_camera(clip.poses)
        view_columns = {
            "clip_id": clip.clip_id,
            "group": clip.group,
            "action": clip.action,
            "split": split,
            "camera": view,
            "projection": str(camera.projection),
            "fps": clip.fps,
        }
        while len(starts):
            fitting, starts = np.split(starts, [len(self.arrays["scale"]) - self.filled])
            end = self.filled + len(fitting)
            out = {name: array[self.filled : end] for name, array in self.arrays.items()}
            angles = angles_deg(cut_windows(points, camera, fitting, out))
            self.views.append(view_columns)
            self.windows.append(pd.DataFrame({"start": fitting, **angles}))
            self.filled = end
            if end == len(self.arrays["scale"]):
                self._flush()

    def _flush(self) -> None:
        scalars = self._scalars()
        arrays = {name: array[: self.filled] for name, array in self.arrays.items() if name != "scale"}
        faults = find_faults(scalars, arrays)
        if len(faults):
            clips = dict(zip(scalars["window_id"], scalars["clip_id"], strict=True))
            first = [
                f"clip {clips[fault.window_id]}, window {fault.window_id}: {describe_fault(WindowSummary, fault)}"
                for fault in faults.head(3).itertuples()
            ]
            raise InputError(
                f"windows break the contract: {'; '.join(first)}; correct or remove these clips in the motion files,"
                " run `uplift ingest` again and convert its output"
            )
        for split, rows in scalars.groupby("split", sort=False):  # clips are sorted by split: each split is one block
            block = slice(rows.index[0], rows.index[-1] + 1)
            self._writer(str(split)).write_table(
                to_arrow(rows, {name: array[block] for name, array in arrays.items()}),
                row_group_size=max(1, ROW_GROUP_BYTES // self.window_bytes),
            )
        self.filled, self.views, self.windows = 0, [], []

    def _scalars(self) -> pd.DataFrame:
        views = pd.DataFrame(self.views)
        rows = views.loc[np.repeat(views.index, [len(windows) for windows in self.windows])].reset_index(drop=True)
        rows = rows.join(pd.concat(self.windows, ignore_index=True))
        rows["scale"] = self.arrays["scale"][: self.filled]
        names = zip(rows["clip_id"], rows["camera"], rows["start"], strict=True)
        rows["window_id"] = [f"{clip_id}-{view}-{start}" for clip_id, view, start in names]
        return rows[list(SCALARS)]

    def _writer(self, split: str) -> parquet.ParquetWriter:
        if split not in self.writers:
            (self.folder / split).mkdir(exist_ok=True)
            self.writers[split] = parquet.ParquetWriter(
                self.folder / split / (self.file + self.mark),
                window_schema(self.window),
                compression="none",
                use_dictionary=["group", "action", "split", "projection"],
                write_statistics=False,
            )
        return self.writers[split]
