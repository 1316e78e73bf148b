"""The motion contract: the 3D pose of one person in consecutive frames, as returned by lifting.

- World axes: z up, x right, y away from the camera (right-handed); metres; the floor is z = 0.
- An unknown root (path of the pelvis) is 0 with an infinite standard deviation.
- `motion.npz` is the source of every export: arrays without pickle, and one JSON text (`about`). The dates in this
  archive are constant, so equal motions have equal bytes.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS, NUM_JOINTS

MOTION_FILE = "motion.npz"
AXES = "z up, x right and y away from the camera; right-handed"
UNIT = "m"


@dataclass(frozen=True)
class Motion:
    """3D motion of one person, and the 2D keypoints that the motion was lifted from."""

    name: str  # name of the folder, e.g. `person-0`
    fps: float
    pose_3d: np.ndarray  # (frames, 17, 3) metres, z up, relative to the pelvis
    root: np.ndarray  # (frames, 3) metres: the pelvis in the world; the floor is z = 0
    root_std: np.ndarray  # (frames, 3) metres: standard deviation of the root per axis; infinite if unknown
    confidence: np.ndarray  # (frames, 17) in [0, 1]; 0 for missing joints, whose position comes from the model alone
    interpolated: np.ndarray  # (frames, 17) bool: missing keypoints interpolated between earlier and later frames
    pose_2d: np.ndarray  # (frames, 17, 3) input keypoints in pixels; NaN if missing
    first_frame: int = 0  # number that the keypoint file gives to the first frame
    video: str = ""  # as in `Track`
    person: int = -1  # as in `Track`
    about: dict[str, Any] = field(default_factory=dict)  # estimates as JSON: model, scale, camera, floor, uncertainty

    @property
    def frames(self) -> int:
        return len(self.pose_3d)

    @property
    def joints(self) -> np.ndarray:
        """Joints (frames, 17, 3) in world coordinates, metres."""
        return np.asarray(self.pose_3d + self.root[:, None])

    @property
    def joints_y_up(self) -> np.ndarray:
        """Joints (frames, 17, 3) in the axes of animation, metres: y up, x right, z towards the camera."""
        x, y, z = np.moveaxis(self.joints, -1, 0)
        return np.stack([x, z, -y], axis=-1)


_SHAPES = {
    "pose_3d": (NUM_JOINTS, 3),
    "root": (3,),
    "root_std": (3,),
    "confidence": (NUM_JOINTS,),
    "interpolated": (NUM_JOINTS,),
    "pose_2d": (NUM_JOINTS, 3),
}
_SCALARS = ("fps", "first_frame", "person", "video", "name")


def write_motion(motion: Motion, path: Path) -> None:
    """Write `motion.npz`: the arrays of `Motion` under their names, `joints`, `unit`, `axes`, and `about` as JSON."""
    values: dict[str, Any] = {name: getattr(motion, name) for name in (*_SHAPES, *_SCALARS)}
    about = json.dumps(motion.about, sort_keys=True)
    np.savez_compressed(path, **values, joints=JOINTS, unit=UNIT, axes=AXES, about=about)


def read_motion(path: Path) -> Motion:
    """Read a file of `write_motion`; raise an InputError if it is missing or damaged, or an array has a wrong shape."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _SHAPES}
            scalars = {name: file[name].item() for name in _SCALARS}
            about = json.loads(file["about"].item())
    except (OSError, ValueError, KeyError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a motion ({error}); lift the keypoints again") from error
    for name, array in arrays.items():
        expected = (len(arrays["pose_3d"]), *_SHAPES[name])
        if array.shape != expected:
            raise InputError(f"{path}: {name} has shape {array.shape}, expected {expected}; lift the keypoints again")
    return Motion(**arrays, **scalars, about=about)
