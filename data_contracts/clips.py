"""The clip contract: one motion, metres, z up, world frame, float32 (frames, 17, 3).

numpy reduces each clip to a row of numbers, and pandera validates all rows at once.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

from data_contracts.bounds import broken_checks
from data_contracts.skeleton import BONES, JOINTS, LIMB_BONES, NUM_JOINTS, PELVIS

CLIPS_FILE = "clips.parquet"
QUARANTINE_FILE = "quarantine.csv"
QUARANTINE_COLUMNS = ("clip_id", "file", "name", "check", "value", "bound")

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

Summary = dict[str, float | int]  # a row of `ClipSummary`

STATURE_M = (0.6, 2.6)  # bounds of a body's height along its bones

_LABELS = ["clip_id", "name", "group", "action", "fps"]
_LIMBS = np.array([bone in LIMB_BONES for bone in BONES])
_SAMPLED_FRAMES = 65  # evenly spread frames of a clip for bone medians
_ORIENTED = 4  # every n-th sampled frame is used for the orientation


@dataclass
class Clip:
    """One motion: `poses` float32 (frames, 17, 3) in metres, z up; `clip_id`: its index in the motion files."""

    clip_id: int
    name: str
    group: str
    action: str
    fps: float
    poses: np.ndarray


class ClipSummary(pa.DataFrameModel):
    """One row of numbers per clip, and the bounds of a moving human body; `quarantine.csv` lists the failed checks.

    The bounds are wide. Over 117 CMU clips `speed_max` is at most 18.6 m/s, `facing` is 0.077-0.30 m and `trunk_twist`
    is above 0.94. Exchanged sides make `facing` negative; exchanged legs alone make `trunk_twist` negative.
    """

    clip_id: int
    dimensions: int = pa.Field(eq=3, description="Number of axes of the array.")
    coordinates: int = pa.Field(eq=3, description="Length of its last axis.")
    joints: int = pa.Field(eq=NUM_JOINTS)
    frames: int = pa.Field(ge=2)
    non_finite: int = pa.Field(eq=0, description="Number of coordinates that are NaN or infinite.")
    duplicate_of: int = pa.Field(eq=-1, description="Index of an earlier clip with the same poses, or -1.")
    stature: float = pa.Field(
        in_range=dict(zip(("min_value", "max_value"), STATURE_M, strict=True)),
        description="Body height along the bones, metres.",
    )
    bone_min: float = pa.Field(ge=0.005, description="Shortest median bone, metres.")
    bone_max: float = pa.Field(le=1.0, description="Longest median bone, metres.")
    limb_stretch: float = pa.Field(le=0.35, description="Largest change of a limb bone, relative to its median.")
    facing: float = pa.Field(ge=-0.03, description="Distance of knees and nose in front of the body, metres.")
    trunk_twist: float = pa.Field(ge=-0.2, description="Median cosine between hip line and shoulder line.")
    frozen_share: float = pa.Field(le=0.5, description="Share of frames without any motion.")
    speed_max: float = pa.Field(le=30.0, description="Fastest joint, m/s.")

    class Config:
        coerce = True


SeenClips = dict[tuple[int, int], int]  # (length, 64-bit SipHash of all bytes) -> first clip with both


def summarise(clips: list[Clip], seen: SeenClips) -> list[Summary]:
    """Return a row of `ClipSummary` per clip, and add the clips to `seen`; poses must be float32 in C order.

    A number that cannot be measured gets a value within its bounds, since another check of the clip fails.
    """
    rows = [_describe(clip) for clip in clips]
    bodies = [(clip, row) for clip, row in zip(clips, rows, strict=True) if _is_measurable(clip, row)]
    if bodies:
        measured = _measure([clip.poses for clip, _ in bodies], [clip.fps for clip, _ in bodies])
        for place, (clip, row) in enumerate(bodies):
            first = seen.setdefault((len(clip.poses), hash(clip.poses.tobytes())), clip.clip_id)
            row["duplicate_of"] = -1 if first == clip.clip_id else first
            row |= {name: float(values[place]) for name, values in measured.items()}
    return rows


def _describe(clip: Clip) -> Summary:
    row: Summary = {
        "clip_id": clip.clip_id, "dimensions": clip.poses.ndim, "coordinates": 3, "joints": NUM_JOINTS, "frames": 2,
        "non_finite": 0, "duplicate_of": -1, "stature": 1.7, "bone_min": 0.1, "bone_max": 0.5, "limb_stretch": 0.0,
        "facing": 0.1, "trunk_twist": 1.0, "frozen_share": 0.0, "speed_max": 1.0,
    }  # fmt: skip
    if clip.poses.ndim == 3:
        row["frames"], row["joints"], row["coordinates"] = clip.poses.shape
    return row


def _is_measurable(clip: Clip, row: Summary) -> bool:
    if clip.poses.ndim != 3 or clip.poses.shape[1:] != (NUM_JOINTS, 3) or len(clip.poses) < 2:
        return False
    row["non_finite"] = int(np.count_nonzero(~np.isfinite(clip.poses)))
    return not row["non_finite"]


@np.errstate(over="ignore", invalid="ignore")  # squares that overflow to infinity exceed the bounds
def _measure(clips: list[np.ndarray], fps: list[float]) -> dict[str, np.ndarray]:
    """Return columns (clips,) of `ClipSummary`, computed joint by joint for all clips (frames, 17, 3) at once."""
    frames = np.array([len(poses) for poses in clips])
    starts = np.cumsum(frames) - frames
    rows = np.empty((NUM_JOINTS * 3, frames.sum()), np.float32)
    np.concatenate([poses.reshape(len(poses), -1).T for poses in clips], axis=1, out=rows)
    joints = rows.reshape(NUM_JOINTS, 3, -1)  # (17, 3, frames of all)
    sampled = starts[:, None] + np.arange(_SAMPLED_FRAMES) * (frames[:, None] - 1) // (_SAMPLED_FRAMES - 1)
    lengths = np.stack([np.sqrt(_squared(joints[child] - joints[parent])) for parent, child in BONES])  # (16, frames)
    bones = np.median(lengths[:, sampled], axis=-1)  # (16, clips)
    extent = np.maximum.reduceat(lengths, starts, axis=1) - np.minimum.reduceat(lengths, starts, axis=1)
    steps = np.zeros(frames.sum(), np.float32)  # squared metres of the fastest joint, to the next frame
    for joint in joints:
        np.maximum(steps[:-1], _squared(np.diff(joint)), out=steps[:-1])
    steps[starts[1:] - 1] = 0  # from one clip to the next
    facing, twist = _orientation(joints[:, :, sampled[:, ::_ORIENTED]])
    return {
        "stature": stature(bones.T),
        "bone_min": bones.min(axis=0),
        "bone_max": bones.max(axis=0),
        "limb_stretch": (extent / np.maximum(bones, 1e-9))[_LIMBS].max(axis=0),
        "facing": facing,
        "trunk_twist": twist,
        "speed_max": np.sqrt(np.maximum.reduceat(steps, starts)) * fps,
        "frozen_share": (np.add.reduceat((steps == 0).astype(int), starts) - 1) / (frames - 1),
    }


def _squared(vectors: np.ndarray) -> np.ndarray:
    """Return squared lengths (n,) of vectors (3, n); overwrites the vectors."""
    np.square(vectors, out=vectors)
    vectors[0] += vectors[1]
    vectors[0] += vectors[2]
    return vectors[0]


def _orientation(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `facing` and `trunk_twist` (clips,) of joints (17, 3, clips, frames).

    The front direction is up x right. Up points from pelvis to thorax. Right points along the hips to judge the knees,
    and along the shoulders to judge the nose.
    """
    up = _unit(joints[8] - joints[PELVIS])
    hips, shoulders = _unit(joints[1] - joints[4]), _unit(joints[14] - joints[11])
    knees = (joints[2] - (joints[1] + joints[3]) / 2 + joints[5] - (joints[4] + joints[6]) / 2) / 2
    nose = joints[9] - (joints[8] + joints[10]) / 2
    ahead = (knees * np.cross(up, hips, axis=0) + nose * np.cross(up, shoulders, axis=0)).sum(axis=0)
    return ahead.mean(axis=-1), np.median((hips * shoulders).sum(axis=0), axis=-1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(np.square(vectors).sum(axis=0)), 1e-9)


def stature(bones: np.ndarray) -> np.ndarray:
    """Return the height (...) along the bones from ankle to head, for bone lengths (..., 16) in `BONES` order."""
    leg = (bones[..., 1] + bones[..., 2] + bones[..., 4] + bones[..., 5]) / 2
    return leg + bones[..., 6] + bones[..., 7] + bones[..., 8] + bones[..., 9]


def find_faults(summaries: list[Summary]) -> pd.DataFrame:
    """Return one row per failed check, with columns clip_id, check, value and bound; empty if all clips pass."""
    return broken_checks(ClipSummary, pd.DataFrame(summaries), "clip_id")


def to_arrow(clips: list[Clip], summaries: list[Summary]) -> arrow.RecordBatch:
    """Return clips without faults, and columns of their `summaries`, as a record batch of `CLIP_SCHEMA`."""
    columns = {
        **{name: [getattr(clip, name) for clip in clips] for name in _LABELS},
        "frames": [len(clip.poses) for clip in clips],
        **{name: [summary[name] for summary in summaries] for name in ("stature", "speed_max")},
        "poses": _poses_column([clip.poses for clip in clips]),
    }
    return arrow.RecordBatch.from_pydict(columns, schema=CLIP_SCHEMA)


def _poses_column(clips: list[np.ndarray]) -> arrow.Array:
    # from one block of bytes: pyarrow 25 never releases memoryviews
    ends = np.cumsum([0] + [poses.size * 4 for poses in clips], dtype=np.int64)
    block = np.concatenate([poses.reshape(-1) for poses in clips], dtype="<f4")
    return arrow.Array.from_buffers(
        arrow.large_binary(), len(clips), [None, arrow.py_buffer(ends), arrow.py_buffer(block)]
    )


def from_arrow(batch: arrow.RecordBatch) -> list[Clip]:
    """Return the rows of a clip table as clips; `poses` are read-only views of the batch."""
    rows = batch.select(_LABELS).to_pylist()
    poses = (np.frombuffer(p.as_buffer(), dtype="<f4").reshape(-1, NUM_JOINTS, 3) for p in batch.column("poses"))
    return [Clip(poses=pose, **row) for row, pose in zip(rows, poses, strict=True)]
