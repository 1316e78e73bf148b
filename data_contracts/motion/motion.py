"""The motion contract: the 3D pose of one person in consecutive frames, as returned by lifting.

- World axes: z up, x right, y away from the camera (right-handed); metres; the floor is z = 0.
- The pose is relative to the pelvis, and the root has the path of the pelvis. An unknown root is 0 with an infinite
  standard deviation.
- `motion.npz` is the source of every export: arrays without pickle, and one JSON text (`about`). Its dates are
  constant, so equal motions have equal bytes.
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
    """3D motion of one person.

    Attributes
    ----------
    name
        Name of the folder, such as `person-0`.
    fps
        Frames per second of the keypoints.
    pose_3d
        (frames, 17, 3) float32, metres, z up, relative to the pelvis.
    root
        (frames, 3) float32, metres: the pelvis in the world; the floor is z = 0.
    root_std
        (frames, 3) float32, metres: standard deviation of the root per axis; infinite if the root is unknown.
    confidence
        (frames, 17) float32 in [0, 1]; 0 for missing joints, whose position comes from the model alone.
    interpolated
        (frames, 17) bool: missing keypoints interpolated between earlier and later frames.
    pose_2d
        (frames, 17, 3) float32: input keypoints in pixels; NaN if missing.
    first_frame
        Number of the first frame in the keypoint file.
    video, person
        Name of the video in the file ("" if there is only one), and the detector's id of the person, or -1.
    about
        Estimated quantities as JSON: model, scale, camera, floor and their uncertainty.
    """

    name: str
    fps: float
    pose_3d: np.ndarray
    root: np.ndarray
    root_std: np.ndarray
    confidence: np.ndarray
    interpolated: np.ndarray
    pose_2d: np.ndarray
    first_frame: int = 0
    video: str = ""
    person: int = -1
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames."""
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


def write_motion(motion: Motion, path: Path) -> None:
    """Write `motion.npz`: the arrays of `Motion` under their names, `joints`, `unit`, `axes`, and `about` as JSON."""
    arrays: dict[str, Any] = {name: getattr(motion, name) for name in _SHAPES}
    np.savez_compressed(
        path,
        **arrays,
        fps=np.float64(motion.fps),
        first_frame=np.int64(motion.first_frame),
        person=np.int64(motion.person),
        video=np.str_(motion.video),
        name=np.str_(motion.name),
        joints=np.array(JOINTS),
        unit=np.str_(UNIT),
        axes=np.str_(AXES),
        about=np.str_(json.dumps(motion.about, sort_keys=True)),
    )


def read_motion(path: Path) -> Motion:
    """Read a file of `write_motion`.

    Raises
    ------
    InputError
        The file is missing or damaged, or an array is missing or has another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _SHAPES}
            scalars = {name: file[name].item() for name in ("fps", "first_frame", "person", "video", "name")}
            about = json.loads(file["about"].item())
    except (OSError, ValueError, KeyError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a motion ({error})") from error
    for name, array in arrays.items():
        expected = (len(arrays["pose_3d"]), *_SHAPES[name])
        if array.shape != expected:
            raise InputError(f"{path}: {name} has shape {array.shape}, expected {expected}")
    return Motion(**arrays, **scalars, about=about)
