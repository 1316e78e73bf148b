"""The clip contract: one motion, metres, z up, world frame, float32 (frames, 17, 3).

A clip table is Parquet: scalars beside the poses as bytes (little-endian float32, C order). Whether a clip is a body
that moves is decided on summaries: numpy reduces each clip to a row of numbers, pandera validates the rows at once.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from pandera.errors import SchemaErrors

from data_contracts.skeleton import BONES, JOINTS, LIMB_BONES, NUM_JOINTS

CLIPS_FILE = "clips.parquet"
QUARANTINE_FILE = "quarantine.csv"
QUARANTINE_COLUMNS = ("clip_id", "name", "check", "value", "bound")

CLIP_SCHEMA = arrow.schema(
    [
        ("clip_id", arrow.int64()),
        ("name", arrow.string()),
        ("group", arrow.string()),
        ("action", arrow.string()),
        ("fps", arrow.float64()),
        ("frames", arrow.int64()),
        ("stature", arrow.float32()),
        ("speed_max", arrow.float32()),
        ("poses", arrow.large_binary()),
    ],
    metadata={
        "poses.dtype": "<f4",
        "poses.shape": f"(frames, {NUM_JOINTS}, 3)",
        "poses.unit": "metre",
        "poses.axes": "world frame: x, y horizontal, z up",
        "poses.joints": ",".join(JOINTS),
    },
)

_PARENT, _CHILD = (np.array(side) for side in zip(*BONES, strict=True))
_IS_LIMB = np.array([bone in LIMB_BONES for bone in BONES])


@dataclass
class Clip:
    """One motion: `poses` float32 (frames, 17, 3) in metres, z up, with what is known about it."""

    clip_id: int
    name: str
    group: str
    action: str
    fps: float
    poses: np.ndarray


class ClipSummary(pa.DataFrameModel):
    """Bounds that a body in motion keeps, on one row of numbers per clip; a check's name is what quarantine reports.

    The bounds are wide: children and giants pass, millimetres, teleports and point clouds do not. `speed_max` lies
    above the fastest hand of the CMU data (18.6 m/s), `limb_stretch` above what joint regressors let a limb vary.
    """

    clip_id: int
    joints: int = pa.Field(eq=NUM_JOINTS)
    frames: int = pa.Field(ge=2)
    non_finite: int = pa.Field(eq=0, description="Coordinates that are NaN or infinite.")
    stature: float = pa.Field(in_range={"min_value": 0.6, "max_value": 2.6}, description="Metres along the bones.")
    bone_min: float = pa.Field(ge=0.005, description="Shortest median bone, metres.")
    bone_max: float = pa.Field(le=1.0, description="Longest median bone, metres.")
    limb_stretch: float = pa.Field(le=0.35, description="Largest change of a limb bone, relative to its median.")
    speed_max: float = pa.Field(in_range={"min_value": 1e-3, "max_value": 30.0}, description="Fastest joint, m/s.")

    class Config:
        coerce = True


def summarise(clip_id: int, poses: np.ndarray, fps: float) -> dict[str, float | int]:
    """One row of `ClipSummary` for a clip: (frames, joints, 3) in metres at `fps`; what cannot be measured is valid."""
    row: dict[str, float | int] = {
        "clip_id": clip_id, "joints": poses.shape[1], "frames": poses.shape[0], "non_finite": 0,
        "stature": 1.7, "bone_min": 0.1, "bone_max": 0.5, "limb_stretch": 0.0, "speed_max": 1.0,
    }  # fmt: skip
    if poses.shape[1:] != (NUM_JOINTS, 3) or len(poses) < 2:
        return row
    row["non_finite"] = int(poses.size - np.isfinite(poses).sum())
    if row["non_finite"]:
        return row
    lengths = np.linalg.norm(poses[:, _CHILD] - poses[:, _PARENT], axis=-1)
    bones = np.median(lengths, axis=0)
    low, high = np.percentile(lengths[:, _IS_LIMB], (1, 99), axis=0)
    row["stature"] = float(stature(bones))
    row["bone_min"], row["bone_max"] = float(bones.min()), float(bones.max())
    row["limb_stretch"] = float(np.max((high - low) / np.maximum(bones[_IS_LIMB], 1e-9)))
    row["speed_max"] = float(np.sqrt(np.max(np.sum(np.diff(poses, axis=0) ** 2, axis=-1))) * fps)
    return row


def stature(bones: np.ndarray) -> np.ndarray:
    """Metres along the bones from ankle to head: mean leg, trunk and head, (..., 16) bone lengths in `BONES` order."""
    leg = (bones[..., 1] + bones[..., 2] + bones[..., 4] + bones[..., 5]) / 2
    return leg + bones[..., 6] + bones[..., 7] + bones[..., 8] + bones[..., 9]


def find_faults(summaries: list[dict[str, float | int]]) -> pd.DataFrame:
    """Every check that a clip breaks: columns clip_id, check, value, bound; empty where all clips keep the contract."""
    table = pd.DataFrame(summaries, columns=list(ClipSummary.to_schema().columns))
    try:
        ClipSummary.validate(table, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        return pd.DataFrame(
            {
                "clip_id": table["clip_id"].to_numpy()[cases["index"].astype(int)],
                "check": cases["column"].to_numpy(),
                "value": cases["failure_case"].to_numpy(),
                "bound": cases["check"].to_numpy(),
            }
        )
    return pd.DataFrame(columns=["clip_id", "check", "value", "bound"])


def to_arrow(clips: list[Clip], summaries: list[dict[str, float | int]]) -> arrow.RecordBatch:
    """Clips that passed, with their summaries, as rows of `CLIP_SCHEMA`."""
    columns = {
        "clip_id": [c.clip_id for c in clips],
        "name": [c.name for c in clips],
        "group": [c.group for c in clips],
        "action": [c.action for c in clips],
        "fps": [c.fps for c in clips],
        "frames": [len(c.poses) for c in clips],
        "stature": [s["stature"] for s in summaries],
        "speed_max": [s["speed_max"] for s in summaries],
        "poses": [np.ascontiguousarray(c.poses, dtype="<f4").data.cast("B") for c in clips],
    }
    return arrow.RecordBatch.from_pydict(columns, schema=CLIP_SCHEMA)


def from_arrow(batch: arrow.RecordBatch) -> list[Clip]:
    """Rows of a clip table as clips; `poses` are read-only views of the batch."""
    rows = batch.select(["clip_id", "name", "group", "action", "fps"]).to_pylist()
    poses = (np.frombuffer(p.as_buffer(), dtype="<f4").reshape(-1, NUM_JOINTS, 3) for p in batch.column("poses"))
    return [Clip(poses=pose, **row) for row, pose in zip(rows, poses, strict=True)]
