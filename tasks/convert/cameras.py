"""Draw virtual cameras, project clips, and cut the projected clips into windows.

- World: z up, metres. Camera: x right, y down, z forward, and far enough away that the whole clip is in front.
- A window of a perspective camera has the axes of a camera in the same place that is turned to the centre of the
  window's bounding box, as in `model.lifting.track_windows`, because a network does not see where the box is.
- No BLAS: its rounding depends on the number of threads, and windows must be equal bit for bit.
"""

from dataclasses import dataclass

import numpy as np

from data_contracts.parameters import ConvertParameters, Projection
from data_contracts.skeleton import PELVIS
from data_contracts.windows import array_shapes
from model.lifting.cameras import turned_to

NEAREST_METRES = 3.0  # from a perspective camera to the nearest pelvis
FARTHEST_METRES = 8.0
CACHED_FRAMES = 1000  # of windows that are cut together; their arrays fit the processor's cache


@dataclass(frozen=True)
class Camera:
    """Virtual camera: rows of `rotation` (3, 3) are its x, y, z axes in the world; `position` (3,) is in metres."""

    rotation: np.ndarray
    position: np.ndarray
    projection: Projection

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Convert world points (..., 3) to camera axes: metres, float64, in memory all x before all y and all z."""
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


def rotation_matrix(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """Return the axes (3, 3) of a camera; angles in radians: yaw from world x, downward pitch, clockwise roll."""
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    forward, down = forward * np.cos(pitch) + down * np.sin(pitch), down * np.cos(pitch) - forward * np.sin(pitch)
    return np.stack([right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll), forward])


def angles_deg(rotation: np.ndarray) -> dict[str, np.ndarray]:
    """Return `yaw_deg` in [0, 360), `pitch_deg` and `roll_deg`, (n,) each, of `rotation` (n, 3, 3)."""
    right, down, forward = np.moveaxis(rotation, 1, 0)
    return {
        "yaw_deg": np.rad2deg(np.arctan2(forward[:, 1], forward[:, 0])) % 360,
        "pitch_deg": np.rad2deg(np.arcsin(-forward[:, 2])),
        "roll_deg": np.rad2deg(np.arctan2(-right[:, 2], -down[:, 2])),
    }


def draw_camera(poses: np.ndarray, clip_id: int, view: int, parameters: ConvertParameters) -> Camera:
    """Draw the camera of one view of a clip, poses (frames, 17, 3) in world metres.

    The camera depends only on (seed, clip_id, view) and the clip's extent; pitch and roll are uniform in [-max, max].
    """
    random = np.random.default_rng([parameters.seed, clip_id, view])
    yaw = random.uniform(0, 2 * np.pi)
    pitch, roll = (
        np.deg2rad(random.uniform(-most, most)) for most in (parameters.max_pitch_deg, parameters.max_roll_deg)
    )
    rotation = rotation_matrix(yaw, pitch, roll)
    centre = poses[:, PELVIS].mean(axis=0, dtype=np.float64)
    nearest = ((poses[:, PELVIS] - centre) * rotation[2]).sum(axis=1).min()  # most negative: towards the camera
    distance = random.uniform(NEAREST_METRES, FARTHEST_METRES) - nearest
    return Camera(rotation, centre - distance * rotation[2], parameters.projection)


def empty_windows(count: int, window: int) -> dict[str, np.ndarray]:
    """Allocate the arrays of the window contract for `count` windows, and `scale` (count,)."""
    shapes = {**array_shapes(window), "scale": ()}
    return {name: np.empty((count, *shape), dtype=np.float32) for name, shape in shapes.items()}


def cut_windows(points: np.ndarray, camera: Camera, starts: np.ndarray, out: dict[str, np.ndarray]) -> np.ndarray:
    """Write the windows that begin at `starts` (n,) to `out`, the arrays of `empty_windows` for n windows.

    `points` (frames, 17, 3) is a clip in the axes of `camera`, metres. Returns the axes (n, 3, 3) of each window.
    """
    window = out["root_3d"].shape[1]
    planes = np.ascontiguousarray(np.moveaxis(points, -1, 0))  # (3, frames, 17)
    box = np.stack([extreme(camera.project(points), axis=1) for extreme in (np.min, np.max)])  # (2, frames, 2)
    axes = np.empty((len(starts), 3, 3))
    at_once = max(1, CACHED_FRAMES // window)
    for first in range(0, len(starts), at_once):
        some = slice(first, first + at_once)
        frame = starts[some, None] + np.arange(window)  # (n, window)
        inside = frame < len(points)
        frame = np.minimum(frame, len(points) - 1)
        seen = planes[:, frame]  # (3, n, window, 17)
        turns = np.broadcast_to(np.eye(3), (len(frame), 3, 3))
        if camera.projection is Projection.PERSPECTIVE:
            turns = turned_to((box[0, frame].min(axis=1) + box[1, frame].max(axis=1)) / 2)
            rows = np.moveaxis(turns, 0, -1)[..., None, None]  # (3, 3, n, 1, 1)
            seen = np.stack([row[0] * seen[0] + row[1] * seen[1] + row[2] * seen[2] for row in rows])
        _normalise(seen, inside, camera, {name: array[some] for name, array in out.items()})
        x, y, z = (turns[:, :, axis, None] for axis in range(3))
        axes[some] = x * camera.rotation[0] + y * camera.rotation[1] + z * camera.rotation[2]
    return axes


def _normalise(seen: np.ndarray, inside: np.ndarray, camera: Camera, out: dict[str, np.ndarray]) -> None:
    """Write windows `seen` (3, n, window, 17), metres in camera axes, to `out`; frames not `inside` are padding."""
    image = seen[:2] if camera.projection is Projection.ORTHOGRAPHIC else seen[:2] / seen[2]
    low, high = image.min(axis=(2, 3)), image.max(axis=(2, 3))  # (2, n)
    half = (high - low).max(axis=0) / 2  # (n,)
    root = seen[..., PELVIS]  # (3, n, window)
    out["scale"][:] = camera.image_units_per_metre(root[2].mean(axis=1)) / half
    for axis in range(3):
        out["root_3d"][..., axis] = root[axis]
        out["pose_3d"][..., axis] = seen[axis] - root[axis, ..., None]
    for axis in range(2):
        centre = (low[axis] + high[axis]) / 2
        out["pose_2d"][..., axis] = (image[axis] - centre[:, None, None]) / half[:, None, None]
    out["pose_2d"][..., 2] = inside[..., None]


def window_starts(frames: int, window: int, stride: int, pad: bool) -> np.ndarray:
    """Return the first frames of a clip's windows: one per `stride`, and a last window aligned to the clip's end.

    A clip shorter than the window has one window that starts at 0 if `pad` is true, and no window otherwise.
    """
    if frames < window:
        return np.zeros(1 if pad else 0, dtype=np.int64)
    starts = np.arange(0, frames - window + 1, stride, dtype=np.int64)
    last = frames - window
    return starts if starts[-1] == last else np.append(starts, last)
