"""A track of keypoints in memory; `data_contracts.tracks.table` defines the table and the bounds of tracks."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Track:
    """2D keypoints of one person in consecutive frames."""

    video: str  # name of the video in the file; empty if there is only one
    person: int  # the detector's id of the person, or -1
    first_frame: int  # number of the first frame in the file
    pose_2d: np.ndarray  # (frames, 17, 3) float32: x right, y down, pixels; confidence in [0, 1]; all 0 where missing
    interpolated: np.ndarray  # (frames, 17) bool: missing joints interpolated between earlier and later frames
    fps: float | None = None
    width: int | None = None
    height: int | None = None
