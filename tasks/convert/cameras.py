"""Virtual cameras: from a clip in the world to windows as one camera sees them.

World: z up, metres. Camera: x right, y down, z forward. A camera stands upright before its clip, at a yaw and a small
pitch drawn from (seed, clip, view), far enough back that the whole clip lies in front of it.

What can be done once a frame is done once a frame (`see_clip`), though windows overlap; cutting a window is then a
copy, and one pass that normalises. No BLAS: how it rounds depends on its threads, and windows are the same to the bit.
"""

from dataclasses import dataclass

import numpy as np

from data_contracts.parameters import Projection
from data_contracts.skeleton import NUM_JOINTS, PELVIS
from data_contracts.windows import array_shapes

NEAREST_METRES = 3.0  # between a perspective camera and the pelvis
FARTHEST_METRES = 6.0
_FRAMES_AT_ONCE = 512  # of float64 image coordinates, so that they stay in the cache between two passes


@dataclass(frozen=True)
class Camera:
    """`rotation` (3, 3): its rows are the camera's x, y, z axes in the world; `position` (3,) in world metres."""

    rotation: np.ndarray
    position: np.ndarray
    projection: Projection

    @property
    def yaw_deg(self) -> float:
        """Where it looks, from world x towards world y, in [0, 360)."""
        return float(np.rad2deg(np.arctan2(self.rotation[2, 1], self.rotation[2, 0])) % 360)

    @property
    def pitch_deg(self) -> float:
        """How far it looks down, in (-90, 90)."""
        return float(np.rad2deg(np.arcsin(-self.rotation[2, 2])))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera axes, metres, float64; in memory all x, then all y, then all z."""
        x, y, z = (points[..., axis] - self.position[axis] for axis in range(3))
        return np.moveaxis(np.stack([row[0] * x + row[1] * y + row[2] * z for row in self.rotation]), 0, -1)

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
    nearest = ((poses[:, PELVIS] - centre) * rotation[2]).sum(axis=1).min()  # most negative: towards the camera
    distance = random.uniform(NEAREST_METRES, FARTHEST_METRES) - nearest
    return Camera(rotation, centre - distance * rotation[2], projection)


@dataclass(frozen=True)
class SeenClip:
    """A clip as one camera sees it, frame by frame.

    `image` (frames, 51) float64: x, y in the image and 1, joint by joint; `relative` (frames, 51) float32: x, y, z from
    the pelvis, metres; `root` (frames, 3) float64: the pelvis, metres; `low`, `high` (2, frames) float64: the joints'
    bounding box in the image.
    """

    camera: Camera
    image: np.ndarray
    relative: np.ndarray
    root: np.ndarray
    low: np.ndarray
    high: np.ndarray


def see_clip(poses: np.ndarray, camera: Camera) -> SeenClip:
    """The frames of a clip, poses (frames, 17, 3) in world metres, through one camera."""
    seen = camera.to_camera(poses)
    xy, root = camera.project(seen), seen[:, PELVIS]
    image = np.ones(seen.shape)
    image[..., :2] = xy
    relative = (seen - root[:, None]).astype(np.float32, order="C")
    low, high = (np.ascontiguousarray(extreme.T) for extreme in (xy.min(axis=1), xy.max(axis=1)))
    joints = 3 * NUM_JOINTS
    return SeenClip(camera, image.reshape(-1, joints), relative.reshape(-1, joints), root, low, high)


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
    arrays = empty_windows(len(starts), window)
    cut_windows(see_clip(poses, camera), starts, arrays)
    return arrays


def empty_windows(count: int, window: int) -> dict[str, np.ndarray]:
    """Memory for `count` windows: the arrays of the window contract, and `scale` (count,)."""
    shapes = {**array_shapes(window), "scale": ()}
    return {name: np.empty((count, *shape), dtype=np.float32) for name, shape in shapes.items()}


def cut_windows(seen: SeenClip, starts: np.ndarray, out: dict[str, np.ndarray]) -> None:
    """Write the windows that begin at `starts` (n,) into `out`, arrays of n windows as `empty_windows` makes them."""
    count, window = out["root_3d"].shape[:2]
    frame = starts[:, None] + np.arange(window)  # (n, window)
    padding = frame >= len(seen.root)
    frame = np.minimum(frame, len(seen.root) - 1)
    low, high = seen.low.take(frame, axis=1).min(axis=2), seen.high.take(frame, axis=1).max(axis=2)  # (2, n)
    half = (high - low).max(axis=0) / 2  # (n,)
    depth = seen.root[:, 2].take(frame).mean(axis=1)
    out["scale"][:] = seen.camera.image_units_per_metre(depth) / half
    out["root_3d"][:] = seen.root.take(frame, axis=0)
    np.take(seen.relative, frame, axis=0, out=out["pose_3d"].reshape(count, window, -1), mode="clip")

    # x, y, 1 of every joint less (centre x, centre y, 0), times (1/half, 1/half, 1)
    centre = np.tile(np.stack([*(low + high) / 2, np.zeros(count)], axis=1), NUM_JOINTS)[:, None]  # (n, 1, 51)
    factor = np.tile(np.stack([1 / half, 1 / half, np.ones(count)], axis=1), NUM_JOINTS)[:, None]
    pose_2d = out["pose_2d"].reshape(count, window, -1)
    step = max(1, _FRAMES_AT_ONCE // window)
    for some in (slice(first, first + step) for first in range(0, count, step)):
        image = seen.image[frame[some]]  # (step, window, 51)
        image -= centre[some]
        np.multiply(image, factor[some], out=pose_2d[some], casting="same_kind")
    if padding.any():
        out["pose_2d"][padding, :, 2] = 0


def window_starts(frames: int, window: int, stride: int, pad: bool) -> np.ndarray:
    """First frames of a clip's windows: every `stride`, and a last window aligned to the clip's end.

    A clip shorter than the window gives one window that starts at 0 (`pad`), or none.
    """
    if frames < window:
        return np.zeros(1 if pad else 0, dtype=np.int64)
    starts = np.arange(0, frames - window + 1, stride, dtype=np.int64)
    last = frames - window
    return starts if starts[-1] == last else np.append(starts, last)
