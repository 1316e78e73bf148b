"""The camera that keypoints were seen by, as far as it is known: a pinhole without distortion that does not roll.

Notable decisions:
- nobody writes down a camera's focal length: it is given, or follows from a stated field of view over the longer side;
- where the image's size is not known it is the smallest common video format that all keypoints fit into;
- a person at the edge of the image is seen from another side than one in its centre. The lifter sees a box without its
  place, so it is shown what a camera would see that is turned towards the person (`turned_to`), and its answer is
  turned back. What it is shown is exact for a pinhole, whatever the depth.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

COMMON_SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160), (7680, 4320))
_INWARDS = 0.03  # a keypoint may lie this much of the longer side beyond the image


@dataclass(frozen=True)
class PinholeCamera:
    """Focal length and principal point, pixels; axes x right, y down, z forward.

    `size_from` and `focal_from` say how image size and focal length came about.
    """

    focal: float
    centre: tuple[float, float]
    width: int
    height: int
    size_from: Literal["known", "assumed"]
    focal_from: Literal["given", "field of view"]

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Image points (..., 2) in pixels as x / z and y / z of the rays through them, (..., 2)."""
        return np.asarray((points - self.centre) / self.focal)


def camera_of(
    points: np.ndarray, width: int | None, height: int | None, fov_deg: float, focal_px: float | None
) -> PinholeCamera:
    """The camera of one video.

    Parameters
    ----------
    points
        (n, 2) all keypoints seen in it, pixels.
    width, height
        Of the image, where they are known.
    fov_deg
        Field of view over its longer side.
    focal_px
        Goes before it.
    """
    known = width is not None and height is not None
    if width is None or height is None:
        width, height = _common_size(points)
    longer = max(width, height)
    focal = focal_px or longer / 2 / np.tan(np.deg2rad(fov_deg) / 2)
    return PinholeCamera(
        float(focal),
        (width / 2, height / 2),
        width,
        height,
        "known" if known else "assumed",
        "given" if focal_px else "field of view",
    )


def _common_size(points: np.ndarray) -> tuple[int, int]:
    reach = points.max(axis=0, initial=1.0)
    for longer, shorter in COMMON_SIZES:
        room = longer * (1 + _INWARDS)
        for width, height in ((longer, shorter), (shorter, longer)):
            if reach[0] <= min(room, width + longer * _INWARDS) and reach[1] <= height + longer * _INWARDS:
                return width, height
    return int(np.ceil(reach[0])), int(np.ceil(reach[1]))


def turned_to(directions: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) of cameras that look along `directions` (n, 2), x / z and y / z: yawed, then pitched.

    Rows are the turned camera's axes; a vector of the first camera times the transpose is one of the turned one.
    """
    x, y = directions[:, 0], directions[:, 1]
    yaw, pitch = np.arctan(x), np.arctan2(y, np.hypot(x, 1))
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(x)
    rows = [cy, zero, -sy, -sy * sp, cp, -cy * sp, sy * cp, sp, cy * cp]
    return np.stack(rows, axis=-1).reshape(-1, 3, 3)
