"""The window contract: `window` frames of one clip seen by one virtual camera.

A window table is Parquet, one folder per split. Arrays are little-endian float32 in fixed-size-binary columns,
uncompressed, so that a column is one block of memory: reading it is a copy, not a decoding. pandera validates the
scalars and per-window summaries made by numpy.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

from data_contracts.skeleton import BONES, JOINTS, NUM_JOINTS, PELVIS
from data_contracts.splits import SPLITS

SCALARS = ("window_id", "clip_id", "group", "action", "split", "camera", "start", "fps", "scale")
_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))


def array_shapes(window: int) -> dict[str, tuple[int, ...]]:
    """Shape of each array column for windows of that many frames."""
    return {"pose_2d": (window, NUM_JOINTS, 3), "pose_3d": (window, NUM_JOINTS, 3), "root_3d": (window, 3)}


def window_schema(window: int) -> arrow.Schema:
    """Arrow schema of a window table; shape, axes, units and joint order stand in its metadata."""
    shapes = array_shapes(window)
    scalars = [
        ("window_id", arrow.string()),
        ("clip_id", arrow.int64()),
        ("group", arrow.string()),
        ("action", arrow.string()),
        ("split", arrow.string()),
        ("camera", arrow.int32()),
        ("start", arrow.int32()),
        ("fps", arrow.float32()),
        ("scale", arrow.float32()),
    ]
    arrays = [(name, arrow.binary(4 * int(np.prod(shape)))) for name, shape in shapes.items()]
    metadata = {f"{name}.shape": str(shape) for name, shape in shapes.items()} | {
        "dtype": "<f4",
        "joints": ",".join(JOINTS),
        "scale.unit": "normalised units per metre at the root's depth",
        "pose_2d.axes": "x right, y down, confidence",
        "pose_2d.unit": "normalised: the window's bounding box over frames and joints maps into [-1, 1], aspect kept",
        "pose_3d.axes": "camera: x right, y down, z forward, relative to the frame's pelvis",
        "pose_3d.unit": "metre",
        "root_3d.axes": "camera: x right, y down, z forward",
        "root_3d.unit": "metre",
    }
    return arrow.schema(scalars + arrays, metadata=metadata)


class WindowSummary(pa.DataFrameModel):
    """What every window keeps: its scalars, and its arrays reduced to one number each."""

    window_id: str = pa.Field(unique=True)
    group: str = pa.Field(str_length={"min_value": 1})
    split: str = pa.Field(isin=SPLITS)
    start: int = pa.Field(ge=0)
    fps: float = pa.Field(gt=0)
    scale: float = pa.Field(gt=0)
    non_finite: int = pa.Field(eq=0)
    pose_2d_max: float = pa.Field(le=1.0 + 1e-5, description="Largest |x| or |y|.")
    confidence_min: float = pa.Field(ge=0)
    confidence_max: float = pa.Field(le=1)
    root_max: float = pa.Field(eq=0, description="Largest |pelvis| of pose_3d.")
    bone_max: float = pa.Field(le=1.1, description="Longest bone, metres.")

    class Config:
        coerce = True
        strict = False


def validate(scalars: pd.DataFrame, arrays: dict[str, np.ndarray]) -> None:
    """Check windows against the contract, all faults at once.

    Parameters
    ----------
    scalars
        One row per window, columns `SCALARS`.
    arrays
        `pose_2d`, `pose_3d` (n, window, 17, 3) and `root_3d` (n, window, 3).

    Raises
    ------
    pandera.errors.SchemaErrors
        With every failing window, check and value.
    """
    pose_2d, pose_3d = arrays["pose_2d"], arrays["pose_3d"]
    bones = pose_3d[:, :, _CHILD] - pose_3d[:, :, _PARENT]
    table = scalars.assign(
        non_finite=sum(a[0].size - np.isfinite(a).reshape(len(a), -1).sum(axis=1) for a in arrays.values()),
        pose_2d_max=np.abs(pose_2d[..., :2]).max(axis=(1, 2, 3)),
        confidence_min=pose_2d[..., 2].min(axis=(1, 2)),
        confidence_max=pose_2d[..., 2].max(axis=(1, 2)),
        root_max=np.abs(pose_3d[:, :, PELVIS]).max(axis=(1, 2)),
        bone_max=np.sqrt(np.square(bones).sum(axis=-1).max(axis=(1, 2))),
    )
    WindowSummary.validate(table, lazy=True)


def to_arrow(scalars: pd.DataFrame, arrays: dict[str, np.ndarray]) -> arrow.Table:
    """Validated windows as a table of `window_schema`; the arrays become fixed-size-binary columns without a copy."""
    schema = window_schema(arrays["pose_2d"].shape[1])
    columns = [arrow.array(scalars[name], type=schema.field(name).type, from_pandas=True) for name in SCALARS]
    for name in ("pose_2d", "pose_3d", "root_3d"):
        block = np.ascontiguousarray(arrays[name], dtype="<f4")
        columns.append(
            arrow.FixedSizeBinaryArray.from_buffers(schema.field(name).type, len(block), [None, arrow.py_buffer(block)])
        )
    return arrow.Table.from_arrays(columns, schema=schema)


def to_numpy(table: arrow.Table, name: str) -> np.ndarray:
    """Array column `name` of a window table as float32 (n, ...): a view where the column is one chunk."""
    frame_bytes = 4 * int(np.prod(array_shapes(1)[name]))
    shape = array_shapes(table.schema.field(name).type.byte_width // frame_bytes)[name]
    chunks = [
        np.frombuffer(chunk.buffers()[1], dtype="<f4").reshape(-1, *shape)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in table.column(name).chunks
    ]
    if not chunks:
        return np.empty((0, *shape), dtype=np.float32)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def split_files(folder: Path, split: str) -> list[Path]:
    """Parquet files of one split, in writing order."""
    return sorted((folder / split).glob("*.parquet"))
