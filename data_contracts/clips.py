"""The clip contract: one motion, metres, z up, world frame, float32 (frames, 17, 3).

A clip table is Parquet: scalars beside the poses as bytes (little-endian float32, C order). Whether a clip is a body
that moves is decided on summaries: numpy reduces each clip to a row of numbers, pandera validates the rows at once.
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

_LIMBS = np.array([bone in LIMB_BONES for bone in BONES])
_SAMPLED_FRAMES = 65  # of a clip, evenly spread: for medians of bones
_ORIENTED = 4  # every so many of them tells orientation


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
    """Bounds that a body in motion keeps, on one row of numbers per clip; a check's name is what quarantine reports.

    The bounds are wide: children and giants pass, millimetres, teleports and point clouds do not. Over 117 CMU clips
    `speed_max` reaches 18.6 m/s, `facing` lies in 0.077-0.30 m and `trunk_twist` above 0.94; with left and right
    exchanged `facing` changes its sign, with the legs alone exchanged `trunk_twist` does.
    """

    clip_id: int
    dimensions: int = pa.Field(eq=3, description="Axes of the array.")
    coordinates: int = pa.Field(eq=3, description="Length of its last axis.")
    joints: int = pa.Field(eq=NUM_JOINTS)
    frames: int = pa.Field(ge=2)
    non_finite: int = pa.Field(eq=0, description="Coordinates that are NaN or infinite.")
    duplicate_of: int = pa.Field(eq=-1, description="Earlier clip, of whatever file, with the same poses; -1: none.")
    stature: float = pa.Field(in_range={"min_value": 0.6, "max_value": 2.6}, description="Metres along the bones.")
    bone_min: float = pa.Field(ge=0.005, description="Shortest median bone, metres.")
    bone_max: float = pa.Field(le=1.0, description="Longest median bone, metres.")
    limb_stretch: float = pa.Field(le=0.35, description="Largest change of a limb bone, relative to its median.")
    facing: float = pa.Field(ge=-0.03, description="How far knees and nose stand before the body, metres.")
    trunk_twist: float = pa.Field(ge=-0.2, description="Median cosine between hip line and shoulder line.")
    frozen_share: float = pa.Field(le=0.5, description="Share of the frames in which nothing moves at all.")
    speed_max: float = pa.Field(le=30.0, description="Fastest joint, m/s.")

    class Config:
        coerce = True


class SeenClips:
    """Which clips there have been so far, to tell a duplicate from the first."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], int] = {}

    def first_with(self, clip_id: int, poses: np.ndarray) -> int:
        """The earlier clip with the same bytes, or -1.

        Told by length and Python's hash of all bytes, a keyed 64-bit SipHash: of 20,000 clips two that differ are taken
        for one with a chance of 1e-11. It takes 1.7 GB/s where SHA-256 takes 0.9 and BLAKE2b 0.4.
        """
        first = self._first.setdefault((len(poses), hash(poses.tobytes())), clip_id)
        return -1 if first == clip_id else first


def summarise(clips: list[Clip], seen: SeenClips) -> list[dict[str, float | int]]:
    """A row of `ClipSummary` for each clip: what it lets one measure; the rest stands at values that pass.

    Parameters
    ----------
    clips
        `poses` float32, C order: (frames, 17, 3) in metres, z up, or whatever stands for a clip in the file.
    seen
        The clips before these.
    """
    rows = [_describe(clip) for clip in clips]
    bodies = [(clip, row) for clip, row in zip(clips, rows, strict=True) if _is_measurable(clip, row)]
    if bodies:
        measured = _measure([clip.poses for clip, _ in bodies], [clip.fps for clip, _ in bodies])
        for place, (clip, row) in enumerate(bodies):
            row["duplicate_of"] = seen.first_with(clip.clip_id, clip.poses)
            row |= {name: float(values[place]) for name, values in measured.items()}
    return rows


def _describe(clip: Clip) -> dict[str, float | int]:
    row: dict[str, float | int] = {
        "clip_id": clip.clip_id, "dimensions": clip.poses.ndim, "coordinates": 3, "joints": NUM_JOINTS, "frames": 2,
        "non_finite": 0, "duplicate_of": -1, "stature": 1.7, "bone_min": 0.1, "bone_max": 0.5, "limb_stretch": 0.0,
        "facing": 0.1, "trunk_twist": 1.0, "frozen_share": 0.0, "speed_max": 1.0,
    }  # fmt: skip
    if clip.poses.ndim == 3:
        row["frames"], row["joints"], row["coordinates"] = clip.poses.shape
    return row


def _is_measurable(clip: Clip, row: dict[str, float | int]) -> bool:
    if clip.poses.ndim != 3 or clip.poses.shape[1:] != (NUM_JOINTS, 3) or len(clip.poses) < 2:
        return False
    is_finite = np.isfinite(clip.poses)
    row["non_finite"] = 0 if is_finite.all() else int(clip.poses.size - is_finite.sum())  # a sum takes 3 times as long
    return not row["non_finite"]


@np.errstate(over="ignore", invalid="ignore")  # what is too far away to be squared breaks the bounds as infinity
def _measure(clips: list[np.ndarray], fps: list[float]) -> dict[str, np.ndarray]:
    """Numbers of clips (frames, 17, 3), all at once and joint by joint: numpy is fast along long, contiguous axes."""
    frames = np.array([len(poses) for poses in clips])
    starts = np.cumsum(frames) - frames
    rows = np.empty((NUM_JOINTS * 3, frames.sum()), np.float32)
    np.concatenate([poses.reshape(len(poses), -1).T for poses in clips], axis=1, out=rows)
    joints = rows.reshape(NUM_JOINTS, 3, -1)  # (17, 3, frames of all)
    sampled = starts[:, None] + np.arange(_SAMPLED_FRAMES) * (frames[:, None] - 1) // (_SAMPLED_FRAMES - 1)
    lengths = np.stack([np.sqrt(_squared(joints[child] - joints[parent])) for parent, child in BONES])  # (16, frames)
    bones = _median(lengths[:, sampled])  # (16, clips)
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
    """Squared lengths (n,) of vectors (3, n); overwrites them."""
    np.square(vectors, out=vectors)
    vectors[0] += vectors[1]
    vectors[0] += vectors[2]
    return vectors[0]


def _median(values: np.ndarray) -> np.ndarray:
    """Of an odd number of values on the last axis: 4 times as fast as np.median."""
    middle = values.shape[-1] // 2
    return np.partition(values, middle, axis=-1)[..., middle]


def _orientation(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (17, 3, clips, frames): how far knees and nose stand before the body, metres; cosine of hips and shoulders.

    Before is up (pelvis to thorax) x right, right being told by the hips for the knees and by the shoulders for the
    nose: where left and right are exchanged, knees bend and noses point backwards. Mean and median over the frames.
    """
    up = _unit(joints[8] - joints[PELVIS])
    hips, shoulders = _unit(joints[1] - joints[4]), _unit(joints[14] - joints[11])
    knees = (joints[2] - (joints[1] + joints[3]) / 2 + joints[5] - (joints[4] + joints[6]) / 2) / 2
    nose = joints[9] - (joints[8] + joints[10]) / 2
    ahead = (knees * _cross(up, hips) + nose * _cross(up, shoulders)).sum(axis=0)
    return ahead.mean(axis=-1), _median((hips * shoulders).sum(axis=0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(np.square(vectors).sum(axis=0)), 1e-9)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[[1, 2, 0]] * b[[2, 0, 1]] - a[[2, 0, 1]] * b[[1, 2, 0]]


def stature(bones: np.ndarray) -> np.ndarray:
    """Metres along the bones from ankle to head: mean leg, trunk and head, (..., 16) bone lengths in `BONES` order."""
    leg = (bones[..., 1] + bones[..., 2] + bones[..., 4] + bones[..., 5]) / 2
    return leg + bones[..., 6] + bones[..., 7] + bones[..., 8] + bones[..., 9]


def find_faults(summaries: list[dict[str, float | int]]) -> pd.DataFrame:
    """Every check that a clip breaks: columns clip_id, check, value, bound; empty where all clips keep the contract."""
    return broken_checks(ClipSummary, pd.DataFrame(summaries), "clip_id")


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
        "poses": _poses_column([c.poses for c in clips]),
    }
    return arrow.RecordBatch.from_pydict(columns, schema=CLIP_SCHEMA)


def _poses_column(clips: list[np.ndarray]) -> arrow.Array:
    # from one block of bytes: built of memoryviews, pyarrow 25 never lets go of them
    ends = np.cumsum([0] + [poses.size * 4 for poses in clips], dtype=np.int64)
    block = np.concatenate([poses.reshape(-1) for poses in clips], dtype="<f4")
    return arrow.Array.from_buffers(
        arrow.large_binary(), len(clips), [None, arrow.py_buffer(ends), arrow.py_buffer(block)]
    )


def from_arrow(batch: arrow.RecordBatch) -> list[Clip]:
    """Rows of a clip table as clips; `poses` are read-only views of the batch."""
    rows = batch.select(["clip_id", "name", "group", "action", "fps"]).to_pylist()
    poses = (np.frombuffer(p.as_buffer(), dtype="<f4").reshape(-1, NUM_JOINTS, 3) for p in batch.column("poses"))
    return [Clip(poses=pose, **row) for row, pose in zip(rows, poses, strict=True)]
