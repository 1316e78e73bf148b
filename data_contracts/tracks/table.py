"""The keypoints contract: tracks of people in 2D, H36M's joints in pixels, one row for each frame of a track.

- The frames of a track are consecutive; interpolated joints are marked. A missing joint is 0, 0 with confidence 0.
- A file may contain several videos; a track belongs to one video. fps and image size are null if unknown.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

from data_contracts.bounds import broken_checks
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from data_contracts.tracks.track import Track

KEYPOINTS_FILE = "keypoints.parquet"
SHORT_TRACKS_FILE = "short_tracks.csv"
MOST_PIXELS = 1e5  # largest coordinate of a keypoint

KEYPOINT_SCHEMA = arrow.schema(
    [
        ("track", arrow.int32()),
        ("video", arrow.string()),
        ("person", arrow.int64()),
        ("frame", arrow.int64()),
        ("pose_2d", arrow.binary(4 * NUM_JOINTS * 3)),
        ("interpolated", arrow.int32()),
        ("fps", arrow.float64()),
        ("width", arrow.int32()),
        ("height", arrow.int32()),
    ],
    metadata={
        "pose_2d.dtype": "<f4",
        "pose_2d.shape": f"({NUM_JOINTS}, 3)",
        "pose_2d.axes": "x right, y down, in pixels; confidence in [0, 1]; 0, 0, 0: missing",
        "pose_2d.joints": ",".join(JOINTS),
        "interpolated": "bit j: joint j was not seen in this frame",
        "person": "the detector's own id of the person, or -1",
    },
)


class TrackSummary(pa.DataFrameModel):
    """One row of numbers per track, and the bounds of these numbers."""

    track: int = pa.Field(ge=0)
    first_frame: int = pa.Field(ge=0)
    frames: int = pa.Field(ge=1)
    gaps: int = pa.Field(eq=0, description="Number of frames that do not follow the previous one.")
    non_finite: int = pa.Field(eq=0)
    pixels_max: float = pa.Field(le=MOST_PIXELS, description="Largest |x| or |y|.")
    confidence_min: float = pa.Field(ge=0)
    confidence_max: float = pa.Field(gt=0, le=1)
    put_in_place: int = pa.Field(eq=0, description="Missing joints that are not at 0, 0 or marked as interpolated.")

    class Config:
        coerce = True


def to_arrow(tracks: list[Track]) -> arrow.Table:
    """Return tracks as a table of `KEYPOINT_SCHEMA`, numbered in their order."""
    lengths = [len(track.pose_2d) for track in tracks]
    columns = {
        name: np.repeat(np.array([getattr(track, name) for track in tracks], object), lengths)
        for name in ("video", "person", "fps", "width", "height")
    }
    columns["track"] = np.repeat(np.arange(len(tracks)), lengths)
    columns["frame"] = np.concatenate([track.first_frame + np.arange(len(track.pose_2d)) for track in tracks])
    columns["interpolated"] = np.concatenate([track.interpolated for track in tracks]) @ (1 << np.arange(NUM_JOINTS))
    poses = [pose.tobytes() for track in tracks for pose in track.pose_2d.astype("<f4")]
    return arrow.Table.from_pydict({**columns, "pose_2d": poses}, schema=KEYPOINT_SCHEMA)


def from_arrow(table: arrow.Table) -> list[Track]:
    """Return the tracks of a table of `KEYPOINT_SCHEMA`, in its order; `pose_2d` is read-only."""
    number = table["track"].to_numpy()
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    poses, interpolated = _poses(table), _interpolated(table)
    rows = table.select(["video", "person", "frame", "fps", "width", "height"]).take(starts).to_pylist()
    return [
        Track(first_frame=row.pop("frame"), pose_2d=poses[start:end], interpolated=interpolated[start:end], **row)
        for row, start, end in zip(rows, starts, [*starts[1:], len(number)], strict=True)
    ]


def find_faults(table: arrow.Table) -> pd.DataFrame:
    """Return one row per failed check, with columns track, check, value and bound; empty if all tracks pass.

    The table has `KEYPOINT_SCHEMA` and is sorted by track and frame.
    """
    number, frame, poses = table["track"].to_numpy(), table["frame"].to_numpy(), _poses(table)
    is_new = np.diff(number, prepend=-1) != 0
    starts = np.flatnonzero(is_new)
    points, confidence = poses[..., :2].reshape(len(poses), -1), poses[..., 2]
    moved = (confidence == 0) & ((poses[..., :2] != 0).any(axis=-1) | _interpolated(table))
    summaries = pd.DataFrame(
        {
            "track": number[starts],
            "first_frame": frame[starts],
            "frames": np.diff([*starts, len(number)]),
            "gaps": np.add.reduceat(((np.diff(frame, prepend=frame[0]) != 1) & ~is_new).astype(int), starts),
            "non_finite": np.add.reduceat((~np.isfinite(poses)).sum(axis=(1, 2)), starts),
            "pixels_max": np.maximum.reduceat(np.abs(points).max(axis=1), starts),
            "confidence_min": np.minimum.reduceat(confidence.min(axis=1), starts),
            "confidence_max": np.maximum.reduceat(confidence.max(axis=1), starts),
            "put_in_place": np.add.reduceat(moved.sum(axis=1), starts),
        }
    )
    return broken_checks(TrackSummary, summaries, "track")


def _poses(table: arrow.Table) -> np.ndarray:
    """Return column `pose_2d` as (rows, 17, 3) float32."""
    return np.frombuffer(b"".join(table["pose_2d"].to_pylist()), "<f4").reshape(-1, NUM_JOINTS, 3)


def _interpolated(table: arrow.Table) -> np.ndarray:
    """Return column `interpolated` as (rows, 17) bool."""
    return (table["interpolated"].to_numpy()[:, None] >> np.arange(NUM_JOINTS)) & 1 > 0
