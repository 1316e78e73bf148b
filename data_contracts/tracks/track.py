"""A track of keypoints in memory; `data_contracts.tracks.table` defines the table and the bounds of tracks."""

from dataclasses import dataclass, field

import numpy as np

DEFAULT_FPS = 30.0  # for keypoints of unknown frame rate


@dataclass(frozen=True)
class Repairs:
    """Faults of the detector that were found in a track; all but `unclear_sides` are repaired."""

    phantom_frames: int = 0  # frames in which the person jumped away; treated as missing
    jumping_joints: int = 0  # detections of single joints that jumped away, in all frames; treated as missing
    exchanged_legs: int = 0  # number of frames in which the left and right leg were exchanged
    exchanged_arms: int = 0  # number of frames in which the left and right arm were exchanged
    unclear_sides: tuple[int, ...] = ()  # frames at which left and right seem to change places, for an unclear time
    exchanged_ids: tuple[int, ...] = ()  # first frames after two people exchanged their ids
    begins_with: str = ""  # "scene cut" or "jump" if the track begins with one


@dataclass
class Track:
    """2D keypoints of one person in consecutive frames."""

    video: str  # name of the video in the file; empty if there is only one
    person: int  # the detector's id of the person, or -1
    first_frame: int  # number that the file gives to the first frame of the track
    pose_2d: np.ndarray  # (frames, 17, 3) float32: x right, y down, pixels; confidence in [0, 1]; all 0 where missing
    interpolated: np.ndarray  # (frames, 17) bool: missing joints interpolated between earlier and later frames
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    repairs: Repairs = field(default_factory=Repairs)
