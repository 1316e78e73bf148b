"""One person in 2D, over consecutive frames: what reading keypoints gives and lifting takes."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Track:
    """One person in consecutive frames.

    Attributes
    ----------
    video
        Which video of the file it is of; "" where there is one.
    person
        The detector's id of the person; -1: the file has none.
    first_frame
        Number of its first frame, counted as the file counts.
    pose_2d
        (frames, 17, 3) float32: x right, y down, in pixels, confidence in [0, 1]; all 0 where missing.
    interpolated
        (frames, 17) bool: joints that were not seen, but before and after.
    fps, width, height
        Where they are known.
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
        """Number of its last frame."""
        return self.first_frame + len(self.pose_2d) - 1
