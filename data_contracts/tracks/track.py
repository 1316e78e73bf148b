"""Track: 2D keypoints of one person in consecutive frames."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Track:
    """2D keypoints of one person in consecutive frames.

    Attributes
    ----------
    video
        Name of the video in the file; "" if there is only one.
    person
        The detector's id of the person, or -1.
    first_frame
        Number of the first frame in the file.
    pose_2d
        (frames, 17, 3) float32: x right, y down, in pixels, confidence in [0, 1]; all 0 where missing.
    interpolated
        (frames, 17) bool: missing joints interpolated between earlier and later frames.
    fps, width, height
        Frame rate and image size in pixels, or None.
    """

    video: str
    person: int
    first_frame: int
    pose_2d: np.ndarray
    interpolated: np.ndarray
    fps: float | None = None
    width: int | None = None
    height: int | None = None

    @property
    def last_frame(self) -> int:
        """Number of the last frame."""
        return self.first_frame + len(self.pose_2d) - 1
