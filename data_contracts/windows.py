"""The window contract: `window` frames of one clip seen by one virtual camera.

Arrays are little-endian float32 in fixed-size-binary columns, uncompressed, so numpy reads a column without conversion.
pandera validates the scalar columns, and summaries of the arrays that numpy computes for each window.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

from data_contracts.bounds import broken_checks
from data_contracts.parameters.motion import Projection
from data_contracts.skeleton import BONES, JOINTS, NUM_JOINTS, PELVIS
from data_contracts.splits import SPLITS

_SCALAR_TYPES = {
    "window_id": arrow.string(),
    "clip_id": arrow.int64(),
    "group": arrow.string(),
    "action": arrow.string(),
    "split": arrow.string(),
    "camera": arrow.int32(),
    "projection": arrow.string(),
    "yaw_deg": arrow.float32(),
    "pitch_deg": arrow.float32(),
    "roll_deg": arrow.float32(),
    "start": arrow.int32(),
    "fps": arrow.float32(),
    "scale": arrow.float32(),
}
SCALARS = tuple(_SCALAR_TYPES)
_PARENT_AXES, _CHILD_AXES = ((3 * np.array(side)[:, None] + np.arange(3)).ravel() for side in zip(*BONES, strict=True))


def array_shapes(window: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array column for windows of `window` frames."""
    return {"pose_2d": (window, NUM_JOINTS, 3), "pose_3d": (window, NUM_JOINTS, 3), "root_3d": (window, 3)}


def window_schema(window: int) -> arrow.Schema:
    """Return the Arrow schema of a window table; its metadata has shapes, axes, units and joint order."""
    shapes = array_shapes(window)
    arrays = [(name, arrow.binary(4 * int(np.prod(shape)))) for name, shape in shapes.items()]
    metadata = {f"{name}.shape": str(shape) for name, shape in shapes.items()} | {
        "dtype": "<f4",
        "joints": ",".join(JOINTS),
        "yaw_deg.axes": "viewing direction, from world x towards y; pitch_deg: down from level; roll_deg: clockwise",
        "scale.unit": "normalised units per metre at the root's depth",
        "pose_2d.axes": "x right, y down, confidence",
        "pose_2d.unit": "normalised: the window's bounding box over frames and joints maps into [-1, 1], aspect kept",
        "pose_3d.axes": "camera: x right, y down, z forward, relative to the frame's pelvis",
        "pose_3d.unit": "metre",
        "root_3d.axes": "camera: x right, y down, z forward",
        "root_3d.unit": "metre",
    }
    return arrow.schema([*_SCALAR_TYPES.items(), *arrays], metadata=metadata)


class WindowSummary(pa.DataFrameModel):
    """Contract of the summary table: one row per window.

    The columns are scalars of a window and extreme values of its arrays; each field states the bounds of its column.
    """

    window_id: str = pa.Field(unique=True)
    group: str = pa.Field(str_length={"min_value": 1})
    split: str = pa.Field(isin=SPLITS)
    projection: str = pa.Field(isin=list(Projection))
    yaw_deg: float = pa.Field(ge=0, le=360)
    pitch_deg: float = pa.Field(gt=-90, lt=90)
    roll_deg: float = pa.Field(gt=-90, lt=90)
    start: int = pa.Field(ge=0)
    fps: float = pa.Field(gt=0)
    scale: float = pa.Field(gt=0)
    non_finite: int = pa.Field(eq=0, description="Number of values that are NaN or infinite.")
    pose_2d_max: float = pa.Field(le=1.0 + 1e-5, description="Largest |x| or |y| of pose_2d, normalised units.")
    confidence_min: float = pa.Field(ge=0)
    confidence_max: float = pa.Field(le=1)
    root_max: float = pa.Field(eq=0, description="Largest |x|, |y| or |z| of pose_3d's pelvis, metres.")
    bone_max: float = pa.Field(le=1.1, description="Longest bone, metres.")

    class Config:
        coerce = True
        strict = False


def find_faults(scalars: pd.DataFrame, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return one row per failed check, with columns window_id, check, value and bound; empty if all windows pass.

    `scalars`: one row per window, with the columns `SCALARS`. `arrays`: the arrays (n windows, ...) of `array_shapes`.
    """
    return broken_checks(WindowSummary, scalars.assign(**summarise(arrays)), "window_id")


def summarise(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns (n,) of `WindowSummary` that are computed from the `arrays` of n windows."""
    count, window = arrays["root_3d"].shape[:2]
    rows_2d, rows_3d = (arrays[name].reshape(count, window, -1) for name in ("pose_2d", "pose_3d"))
    lowest, highest = (extreme(rows_2d, axis=1).reshape(count, NUM_JOINTS, 3) for extreme in (np.min, np.max))
    bones = rows_3d[..., _CHILD_AXES] - rows_3d[..., _PARENT_AXES]
    bones *= bones
    squared = bones[..., 0::3] + bones[..., 1::3] + bones[..., 2::3]
    return {
        "non_finite": sum((~np.isfinite(array)).reshape(count, -1).sum(axis=1) for array in arrays.values()),
        "pose_2d_max": np.maximum(-lowest[..., :2], highest[..., :2]).max(axis=(1, 2)),
        "confidence_min": lowest[..., 2].min(axis=1),
        "confidence_max": highest[..., 2].max(axis=1),
        "root_max": np.abs(arrays["pose_3d"][:, :, PELVIS]).max(axis=(1, 2)),
        "bone_max": np.sqrt(squared.reshape(count, -1).max(axis=1)),
    }


def to_arrow(scalars: pd.DataFrame, arrays: dict[str, np.ndarray]) -> arrow.Table:
    """Return windows as a table of `window_schema`, without a check; contiguous float32 arrays are not copied."""
    schema = window_schema(arrays["pose_2d"].shape[1])
    columns = [arrow.array(scalars[name], type=schema.field(name).type, from_pandas=True) for name in SCALARS]
    for name in ("pose_2d", "pose_3d", "root_3d"):
        block = np.ascontiguousarray(arrays[name], dtype="<f4")
        columns.append(
            arrow.FixedSizeBinaryArray.from_buffers(schema.field(name).type, len(block), [None, arrow.py_buffer(block)])
        )
    return arrow.Table.from_arrays(columns, schema=schema)


def to_numpy(table: arrow.Table, name: str) -> np.ndarray:
    """Return array column `name` of a window table as float32 (n, ...); a view if the column is one chunk."""
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
    """Return the Parquet files of one split, in writing order."""
    return sorted((folder / split).glob("*.parquet"))
