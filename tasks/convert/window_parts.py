"""Write the windows of one batch of clips as Parquet, one part per split.

- Windows are cut directly into the memory that is validated and written, `BYTES_AT_ONCE` at a time.
- A part has a temporary name until it is complete.
"""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from data_contracts.clips import Clip
from data_contracts.errors import InputError
from data_contracts.windows import SCALARS, find_faults, to_arrow, window_schema
from tasks.convert.cameras import Camera, ProjectedClip, cut_windows, empty_windows

BYTES_AT_ONCE = 64 << 20
ROW_GROUP_BYTES = 16 << 20


class WindowParts:
    """Parts of one batch: collect windows in memory, validate them together, and write them to the part of a split."""

    def __init__(self, folder: Path, batch: int, window: int) -> None:
        self.folder, self.file, self.window = folder, f"part-{batch:05d}.parquet", window
        self.window_bytes = sum(a.nbytes for a in empty_windows(1, window).values())
        self.arrays = empty_windows(max(1, BYTES_AT_ONCE // self.window_bytes), window)
        self.filled = 0
        self.views: list[tuple[Clip, str, int, Camera, np.ndarray]] = []
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

    def add(self, clip: Clip, split: str, view: int, projected: ProjectedClip, starts: np.ndarray) -> None:
        """Cut one view of a clip into windows that begin at `starts`."""
        while len(starts):
            fitting, starts = np.split(starts, [len(self.arrays["scale"]) - self.filled])
            end = self.filled + len(fitting)
            cut_windows(projected, fitting, {name: array[self.filled : end] for name, array in self.arrays.items()})
            self.views.append((clip, split, view, projected.camera, fitting))
            self.filled = end
            if end == len(self.arrays["scale"]):
                self._flush()

    def _flush(self) -> None:
        scalars = self._scalars()
        arrays = {name: array[: self.filled] for name, array in self.arrays.items() if name != "scale"}
        faults = find_faults(scalars, arrays)
        if len(faults):
            first = (f"window {f.window_id}: {f.check} {f.value} breaks {f.bound}" for f in faults.head(3).itertuples())
            raise InputError(f"{self.file}: windows break the contract: {'; '.join(first)}")
        for split, rows in scalars.groupby("split", sort=False):  # clips are sorted by split: each split is one block
            block = slice(rows.index[0], rows.index[-1] + 1)
            self._writer(str(split)).write_table(
                to_arrow(rows, {name: array[block] for name, array in arrays.items()}),
                row_group_size=max(1, ROW_GROUP_BYTES // self.window_bytes),
            )
        self.filled, self.views = 0, []

    def _scalars(self) -> pd.DataFrame:
        views = pd.DataFrame([_scalars_of(*view[:4]) for view in self.views])
        rows = views.loc[np.repeat(views.index, [len(starts) for *_, starts in self.views])].reset_index(drop=True)
        rows["start"] = np.concatenate([starts for *_, starts in self.views])
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


def _scalars_of(clip: Clip, split: str, view: int, camera: Camera) -> dict[str, Any]:
    """Return the columns that all windows of one view of a clip share."""
    return {
        "clip_id": clip.clip_id,
        "group": clip.group,
        "action": clip.action,
        "split": split,
        "camera": view,
        "projection": str(camera.projection),
        "yaw_deg": camera.yaw_deg,
        "pitch_deg": camera.pitch_deg,
        "fps": clip.fps,
    }
