"""Read the Parquet files of one split: scalar columns of all windows, and row groups as tensors.

A pose column is fixed-size binary, so a row group is one block of memory and is copied as a whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import torch
from pyarrow.compute import equal

from data_contracts.errors import InputError
from data_contracts.parameters import Projection
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.windows import SCALARS, split_files, to_numpy
from model.data.batches import Batch

_FRAME_BYTES = 4 * NUM_JOINTS * 3  # of a pose
_COLUMNS = ["pose_2d", "pose_3d", "scale"]
_REMEDY = "run `uplift convert` again"
_PLACES = ["root_3d", "pitch_deg", "roll_deg", "projection"]


class WindowFiles:
    """Windows of one split on disk; with `placed`, `read` and `pick` also read the camera of each window.

    `window`: frames of a window; `rows`: one row per window, columns `SCALARS`; `row_groups`: windows of each row
    group, in the order of the files. Errors: see `load_windows`.
    """

    def __init__(self, folder: Path, split: str, placed: bool = False) -> None:
        files = split_files(folder, split)
        if not files:
            raise InputError(
                f"{folder}: no windows in split {split!r}: pass an output folder of `uplift convert` that was converted"
                " with this split"
            )
        self._parts: list[tuple[Path, parquet.FileMetaData, int]] = []  # location of each row group
        windows, rows = set(), []
        for file in files:
            with _readable(file):
                part = parquet.ParquetFile(file)
                windows.add(_window(file, part.schema_arrow))
                rows.append(part.read(columns=list(SCALARS)))
            self._parts += [(file, part.metadata, group) for group in range(part.num_row_groups)]
        if len(windows) > 1:
            raise InputError(
                f"{folder / split}: the split has windows of different lengths, {sorted(windows)} frames; {_REMEDY}"
            )
        self.window, self.placed = windows.pop(), placed
        self.rows: pd.DataFrame = arrow.concat_tables(rows).to_pandas()
        self.row_groups = [metadata.row_group(group).num_rows for _, metadata, group in self._parts]
        if not len(self.rows):
            raise InputError(f"{folder}: split {split!r} is empty; {_REMEDY}")

    def read(self, groups: Sequence[int], pin: bool = False, stopped: Callable[[], bool] = lambda: False) -> Batch:
        """Return row groups as one batch on the CPU; when `stopped()` is true, further groups stay uninitialised."""
        counts = [self.row_groups[group] for group in groups]
        windows = Batch.empty(sum(counts), self.window, pin, self.placed)
        for group, out in zip(groups, windows.split(counts), strict=True):
            if stopped():
                break
            self._read_group(group, out)
        return windows

    def pick(self, index: Sequence[int]) -> Batch:
        """Return the windows at positions `index` of `rows`; consecutive positions in a row group are read together."""
        ends = np.cumsum(self.row_groups)
        groups = np.searchsorted(ends, index, side="right")
        rows = index - ends[groups] + np.array(self.row_groups)[groups]
        cuts = np.flatnonzero(np.diff(groups)) + 1
        parts = zip(np.split(groups, cuts), np.split(rows, cuts), strict=True)
        return Batch.join([self.read([int(group[0])]).select(torch.from_numpy(of_group)) for group, of_group in parts])

    def _read_group(self, group: int, out: Batch) -> None:
        file, metadata, number = self._parts[group]
        with _readable(file), parquet.ParquetFile(file, metadata=metadata) as part:
            columns = _COLUMNS + _PLACES if self.placed else _COLUMNS
            table = part.read_row_group(number, columns=columns, use_threads=False)
        scale, pose_2d = table.column("scale").to_numpy(), to_numpy(table, "pose_2d")
        out.scale.numpy()[:] = scale
        out.pose_2d.numpy()[:] = pose_2d
        out.frame_weight.numpy()[:] = (pose_2d[..., 2] > 0).any(axis=-1)
        np.multiply(to_numpy(table, "pose_3d"), scale[:, None, None, None], out=out.pose_3d.numpy())  # metres -> units
        if out.root_3d is not None and out.perspective is not None:
            out.root_3d.numpy()[:] = to_numpy(table, "root_3d")
            for name, angles in (("pitch_deg", out.pitch_deg), ("roll_deg", out.roll_deg)):
                assert angles is not None
                angles.numpy()[:] = table.column(name).to_numpy()
            out.perspective.numpy()[:] = equal(table.column("projection"), str(Projection.PERSPECTIVE)).to_numpy()


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, arrow.ArrowException) as error:
        raise InputError(f"{file}: cannot be read ({error}); {_REMEDY}") from error


def _window(file: Path, schema: arrow.Schema) -> int:
    """Return the window length in frames of a file with that schema."""
    missing = sorted({*SCALARS, *_COLUMNS, *_PLACES} - set(schema.names))
    if missing:
        raise InputError(f"{file}: is not a window table; missing columns: {', '.join(missing)}; {_REMEDY}")
    frames = set()
    for name in ("pose_2d", "pose_3d"):
        kind = schema.field(name).type
        if not arrow.types.is_fixed_size_binary(kind) or kind.byte_width % _FRAME_BYTES:
            raise InputError(
                f"{file}: column {name} is {kind}; expected fixed-size binary of {_FRAME_BYTES} bytes per frame;"
                f" {_REMEDY}"
            )
        frames.add(kind.byte_width // _FRAME_BYTES)
    if len(frames) > 1:
        raise InputError(f"{file}: pose_2d and pose_3d differ in length: {sorted(frames)} frames; {_REMEDY}")
    return frames.pop()
