"""Draw virtual cameras, project clips, and cut the projected clips into windows.

- World: z up, metres. Camera: x right, y down, z forward, upright, and far enough away that the whole clip is in front.
- No BLAS: its rounding depends on the number of threads, and windows must be equal bit for bit.
"""

from dataclasses import dataclass

import numpy as np

from data_contracts.parameters import Projection
from data_contracts.skeleton import NUM_JOINTS, PELVIS
from data_contracts.windows import array_shapes

NEAREST_METRES = 3.0  # from a perspective camera to the nearest pelvis
FARTHEST_METRES = 6.0


@dataclass(frozen=True)
class Camera:
    """Virtual camera: rows of `rotation` (3, 3) are its x, y, z axes in the world; `position` (3,) is in metres."""

    rotation: np.ndarray
    position: np.ndarray
    projection: Projection

    @property
    def yaw_deg(self) -> float:
        """Return the horizontal viewing direction in degrees from world x towards world y, in [0, 360)."""
        return float(np.rad2deg(np.arctan2(self.rotation[2, 1], self.rotation[2, 0])) % 360)

    @property
    def pitch_deg(self) -> float:
        """Return the downward angle of the viewing direction in degrees, in (-90, 90)."""
        return float(np.rad2deg(np.arcsin(-self.rotation[2, 2])))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Convert world points (..., 3) to camera axes: metres, float64; the memory has all x, all y, all z."""
        x, y, z = (points[..., axis] - self.position[axis] for axis in range(3))
        return np.moveaxis(np.stack([row[0] * x + row[1] * y + row[2] * z for row in self.rotation]), 0, -1)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project camera points (..., 3) to the image (..., 2): metres, or metres per metre of depth (perspective)."""
        if self.projection is Projection.ORTHOGRAPHIC:
            return points[..., :2]
        return points[..., :2] / points[..., 2:]

    def image_units_per_metre(self, depth: np.ndarray) -> np.ndarray:
        """Return the image length of one metre at a distance of `depth` metres."""
        return np.ones_like(depth) if self.projection is Projection.ORTHOGRAPHIC else 1 / depth


def rotation_matrix(yaw: float, pitch: float) -> np.ndarray:
    """Return the axes (3, 3) of an upright camera with `yaw` (radians from world x) and downward `pitch` (radians)."""
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    return np.stack(
        [right, down * np.cos(pitch) - forward * np.sin(pitch), forward * np.cos(pitch) + down * np.sin(pitch)]
    )


def draw_camera(
    poses: np.ndarray, clip_id: int, view: int, seed: int, max_pitch_deg: float, projection: Projection
) -> Camera:
    """Draw the camera of one view of a clip, poses (frames, 17, 3) in world metres.

    The camera depends only on (seed, clip_id, view) and the extent of the clip. The pitch is uniform in [-max, max].
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
class ProjectedClip:
    """Frames of a clip, projected by one camera."""

    camera: Camera
    image: np.ndarray  # (frames, 51) float64: x and y in the image and 1, joint by joint
    relative: np.ndarray  # (frames, 51) float32: x, y, z from the pelvis, metres
    root: np.ndarray  # (frames, 3) float64: the pelvis, metres
    low: np.ndarray  # (2, frames) float64: bounding box of the joints in the image
    high: np.ndarray


def project_clip(poses: np.ndarray, camera: Camera) -> ProjectedClip:
    """Project all frames of a clip, poses (frames, 17, 3) in world metres."""
    points = camera.to_camera(poses)
    xy, root = camera.project(points), points[:, PELVIS]
    image = np.ones(points.shape)
    image[..., :2] = xy
    relative = (points - root[:, None]).astype(np.float32, order="C")
    low, high = (np.ascontiguousarray(extreme.T) for extreme in (xy.min(axis=1), xy.max(axis=1)))
    joints = 3 * NUM_JOINTS
    return ProjectedClip(camera, image.reshape(-1, joints), relative.reshape(-1, joints), root, low, high)


def empty_windows(count: int, window: int) -> dict[str, np.ndarray]:
    """Allocate the arrays of the window contract for `count` windows, and `scale` (count,)."""
    shapes = {**array_shapes(window), "scale": ()}
    return {name: np.empty((count, *shape), dtype=np.float32) for name, shape in shapes.items()}


def cut_windows(clip: ProjectedClip, starts: np.ndarray, out: dict[str, np.ndarray]) -> None:
    """Write the windows that begin at `starts` (n,) to `out`, the arrays of `empty_windows` for n windows."""
    count, window = out["root_3d"].shape[:2]
    frame = starts[:, None] + np.arange(window)  # (n, window)
    padding = frame >= len(clip.root)
    frame = np.minimum(frame, len(clip.root) - 1)
    low, high = clip.low.take(frame, axis=1).min(axis=2), clip.high.take(frame, axis=1).max(axis=2)  # (2, n)
    half = (high - low).max(axis=0) / 2  # (n,)
    depth = clip.root[:, 2].take(frame).mean(axis=1)
    out["scale"][:] = clip.camera.image_units_per_metre(depth) / half
    out["root_3d"][:] = clip.root.take(frame, axis=0)
    np.take(clip.relative, frame, axis=0, out=out["pose_3d"].reshape(count, window, -1), mode="clip")

    # (x, y, 1) of each joint minus (centre x, centre y, 0), times (1/half, 1/half, 1)
    centre = np.tile(np.stack([*(low + high) / 2, np.zeros(count)], axis=1), NUM_JOINTS)[:, None]  # (n, 1, 51)
    factor = np.tile(np.stack([1 / half, 1 / half, np.ones(count)], axis=1), NUM_JOINTS)[:, None]
    image = clip.image[frame]  # (n, window, 51)
    image -= centre
    np.multiply(image, factor, out=out["pose_2d"].reshape(count, window, -1), casting="same_kind")
    if padding.any():
        out["pose_2d"][padding, :, 2] = 0


def window_starts(frames: int, window: int, stride: int, pad: bool) -> np.ndarray:
    """Return the first frames of a clip's windows: one per `stride`, and a last window aligned to the clip's end.

    A clip shorter than the window has one window that starts at 0 if `pad` is true, and no window otherwise.
    """
    if frames < window:
        return np.zeros(1 if pad else 0, dtype=np.int64)
    starts = np.arange(0, frames - window + 1, stride, dtype=np.int64)
    last = frames - window
    return starts if starts[-1] == last else np.append(starts, last)
