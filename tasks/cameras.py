"""Virtual cameras: from a clip in the world to windows as one camera sees them.

World: z up, metres. Camera: x right, y down, z forward. A camera stands upright before its clip, at a yaw and a small
pitch drawn from (seed, clip, view), far enough back that the whole clip lies in front of it.
"""

from dataclasses import dataclass

import numpy as np

from data_contracts.parameters import Projection
from data_contracts.skeleton import PELVIS

NEAREST_METRES = 3.0  # between a perspective camera and the pelvis
FARTHEST_METRES = 6.0


@dataclass(frozen=True)
class Camera:
    """`rotation` (3, 3): its rows are the camera's x, y, z axes in the world; `position` (3,) in world metres."""

    rotation: np.ndarray
    position: np.ndarray
    projection: Projection

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera axes, metres."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera points (..., 3) on the image (..., 2): metres (orthographic), or metres per metre of depth."""
        if self.projection is Projection.ORTHOGRAPHIC:
            return points[..., :2]
        return points[..., :2] / points[..., 2:]

    def image_units_per_metre(self, depth: np.ndarray) -> np.ndarray:
        """Image length of a metre at `depth` metres before the camera."""
        return np.ones_like(depth) if self.projection is Projection.ORTHOGRAPHIC else 1 / depth


def rotation_matrix(yaw: float, pitch: float) -> np.ndarray:
    """Axes (3, 3) of an upright camera that looks along `yaw` (radians from world x) and down by `pitch` (radians)."""
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    return np.stack(
        [right, down * np.cos(pitch) - forward * np.sin(pitch), forward * np.cos(pitch) + down * np.sin(pitch)]
    )


def draw_camera(
    poses: np.ndarray, clip_id: int, view: int, seed: int, max_pitch_deg: float, projection: Projection
) -> Camera:
    """The camera of one view of one clip, a function of (seed, clip_id, view) and the clip's own extent.

    Parameters
    ----------
    poses
        (frames, 17, 3), world metres.
    """
    random = np.random.default_rng([seed, clip_id, view])
    yaw = random.uniform(0, 2 * np.pi)
    pitch = np.deg2rad(random.uniform(-max_pitch_deg, max_pitch_deg))
    rotation = rotation_matrix(yaw, pitch)
    centre = poses[:, PELVIS].mean(axis=0, dtype=np.float64)
    nearest = ((poses[:, PELVIS] - centre) @ rotation[2]).min()  # most negative: towards the camera
    distance = random.uniform(NEAREST_METRES, FARTHEST_METRES) - nearest
    return Camera(rotation, centre - distance * rotation[2], projection)


def see_windows(poses: np.ndarray, starts: np.ndarray, window: int, camera: Camera) -> dict[str, np.ndarray]:
    """Windows of one clip through one camera.

    Parameters
    ----------
    poses
        (frames, 17, 3), world metres; at least one frame.
    starts
        (n,) first frame of each window. Frames past the end repeat the last one, with confidence 0.
    window
        Frames of a window.

    Returns
    -------
    dict
        `pose_2d` (n, window, 17, 3), `pose_3d` (n, window, 17, 3), `root_3d` (n, window, 3), `scale` (n,), float32,
        as in the window contract.
    """
    frame = starts[:, None] + np.arange(window)  # (n, window)
    padding = frame >= len(poses)
    seen = camera.to_camera(poses.astype(np.float64))[np.minimum(frame, len(poses) - 1)]  # (n, window, 17, 3)
    image = camera.project(seen)
    root = seen[:, :, PELVIS]
    low, high = image.min(axis=(1, 2)), image.max(axis=(1, 2))  # (n, 2)
    half = ((high - low).max(axis=1) / 2)[:, None, None, None]
    normalised = (image - ((low + high) / 2)[:, None, None]) / half
    confidence = np.broadcast_to(~padding[:, :, None, None], (*image.shape[:3], 1))
    units_per_metre = camera.image_units_per_metre(root[..., 2].mean(axis=1))
    return {
        "pose_2d": np.concatenate([normalised, confidence], axis=-1, dtype=np.float32),
        "pose_3d": (seen - root[:, :, None]).astype(np.float32),
        "root_3d": root.astype(np.float32),
        "scale": (units_per_metre / half[:, 0, 0, 0]).astype(np.float32),
    }


def window_starts(frames: int, window: int, stride: int, pad: bool) -> np.ndarray:
    """First frames of a clip's windows: every `stride`, and a last window aligned to the clip's end.

    A clip shorter than the window gives one window that starts at 0 (`pad`), or none.
    """
    if frames < window:
        return np.zeros(1 if pad else 0, dtype=np.int64)
    starts = np.arange(0, frames - window + 1, stride, dtype=np.int64)
    last = frames - window
    return starts if starts[-1] == last else np.append(starts, last)
