"""A track of keypoints in memory; `data_contracts.tracks.table` defines the table and the bounds of tracks."""

from dataclasses import dataclass, field

import numpy as np

DEFAULT_FPS = 30.0  # for keypoints of unknown frame rate


@dataclass(frozen=True)
class Repairs:
    """Faults of the detector that were found and repaired in a track."""

    phantom_frames: int = 0  # frames in which the person jumped away; treated as missing
    jumping_joints: int = 0  # detections of single joints that jumped away, in all frames; treated as missing
    exchanged_legs: int = 0  # frames in which left and right legs were exchanged
    exchanged_arms: int = 0
    unclear_sides: tuple[int, ...] = ()  # frames of exchanges of sides that are not repaired: their end is unclear
    exchanged_ids: tuple[int, ...] = ()  # first frames of exchanges of ids with another person
    begins_with: str = ""  # "scene cut" or "jump" if the track begins with one


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
    repairs: Repairs = field(default_factory=Repairs)
