"""Pinhole cameras of keypoints, without lens distortion; `video_fit` estimates their pitch and roll.

- If the image size is unknown, a common video size is assumed: a small one that contains all keypoints, with their
  range near its middle. In simulated videos the mean error of the longer side is 4 %; the smallest size errs by 11 %.
- A person at the edge of the image is seen from a different side than a person in the centre. The lifter does not get
  the position of the person in the image, so the keypoints are first projected to a turned camera (`turned_to`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

COMMON_SIZES = (
    *((640, 480), (854, 480), (720, 576), (960, 540), (1280, 720), (1080, 1080)),
    *((1920, 1080), (2560, 1440), (2704, 1520), (3840, 2160), (7680, 4320)),
)
_OFF_CENTRE = 40.0  # weight of the squared offset from the centre (share of the image) against log(area)
_MARGIN = 0.03  # keypoints may be outside the image by this share of the longer side


@dataclass(frozen=True)
class PinholeCamera:
    """Focal length and principal point, pixels; axes x right, y down, z forward.

    `size_from` and `focal_from` are the sources of image size and focal length, in words.
    """

    focal: float
    centre: tuple[float, float]
    width: int
    height: int
    size_from: Literal["known", "assumed"]
    focal_from: Literal["given", "field of view"]

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Return x / z and y / z (..., 2) of the rays through image points (..., 2) in pixels."""
        return np.asarray((points - self.centre) / self.focal)


def camera_of(
    points: np.ndarray, width: int | None, height: int | None, fov_deg: float, focal_px: float | None
) -> PinholeCamera:
    """Return the camera of one video.

    If `width` or `height` is None, the size is assumed from all detected keypoints, `points` (n, 2) in pixels.
    `fov_deg` is the field of view over the longer side; `focal_px` overrides `fov_deg`.
    """
    size_from: Literal["known", "assumed"] = "known"
    if width is None or height is None:
        size_from, (width, height) = "assumed", _common_size(points)
    focal = focal_px or max(width, height) / 2 / np.tan(np.deg2rad(fov_deg) / 2)
    focal_from: Literal["given", "field of view"] = "given" if focal_px else "field of view"
    return PinholeCamera(float(focal), (width / 2, height / 2), width, height, size_from, focal_from)


def _common_size(points: np.ndarray) -> tuple[int, int]:
    largest = points.max(axis=0, initial=1.0)
    middle = (largest + points.min(axis=0, initial=float(largest.max()))) / 2
    fitting: dict[tuple[int, int], float] = {}
    for longer, shorter in COMMON_SIZES:
        for size in ((longer, shorter), (shorter, longer)):
            if (largest <= np.array(size) + longer * _MARGIN).all():
                off_centre = _OFF_CENTRE * ((middle / size - 0.5) ** 2).sum()
                fitting[size] = float(np.log(longer * shorter) + off_centre)
    if fitting:
        return min(fitting, key=fitting.__getitem__)
    return int(np.ceil(largest[0])), int(np.ceil(largest[1]))


def turned_to(directions: np.ndarray) -> np.ndarray:
    """Return rotations (n, 3, 3) of cameras that look along `directions` (n, 2), x / z and y / z: yaw, then pitch.

    Rows are the axes of the turned camera.
    """
    x, y = directions[:, 0], directions[:, 1]
    yaw, pitch = np.arctan(x), np.arctan2(y, np.hypot(x, 1))
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(x)
    rows = [cy, zero, -sy, -sy * sp, cp, -cy * sp, sy * cp, sp, cy * cp]
    return np.stack(rows, axis=-1).reshape(-1, 3, 3)
