"""The motion contract: what lifting returns, one person's pose in 3D in consecutive frames, and how it came about.

Notable decisions:
- world axes are z up, x right and y away from the camera, so that they are right-handed; metres; the floor is z = 0;
- the pose is relative to the pelvis and the pelvis' way stands beside it: who wants no way leaves it out, and where it
  could not be told it is 0 with an uncertainty that is not finite;
- `motion.npz` is what every export is made of: plain arrays, no pickle, one JSON text (`about`) for what is no array.
  Its dates are constant, so that the same motion is the same bytes.
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
    """One person, lifted.

    Attributes
    ----------
    name
        Of its folder: `person-0`.
    fps
        Frames per second, as the keypoints had them.
    pose_3d
        (frames, 17, 3) float32, metres, z up, relative to the pelvis.
    root
        (frames, 3) float32, metres: the pelvis in the world; the floor is z = 0.
    root_std
        (frames, 3) float32, metres: its standard deviation along each axis; not finite where nothing is known.
    confidence
        (frames, 17) float32 in [0, 1]; 0: the joint was not seen, and the model put it there.
    interpolated
        (frames, 17) bool: the keypoint was not seen, but before and after.
    pose_2d
        (frames, 17, 3) float32: what it was lifted from, in pixels; NaN where missing.
    first_frame
        Number of the first frame, as the file of keypoints counts.
    video, person
        Which video of the file it is of ("" where there is one), and the detector's id of the person (-1: none).
    about
        JSON of what was found and how: the model, scale, camera, floor and their uncertainty.
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
        """How many there are."""
        return len(self.pose_3d)

    @property
    def joints(self) -> np.ndarray:
        """(frames, 17, 3) metres, in the world."""
        return np.asarray(self.pose_3d + self.root[:, None])


_ARRAYS = ("pose_3d", "root", "root_std", "confidence", "interpolated", "pose_2d")
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
    arrays: dict[str, Any] = {name: getattr(motion, name) for name in _ARRAYS}
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
    """What `write_motion` wrote.

    Raises
    ------
    InputError
        The file is missing or damaged, or an array is not there or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            scalars = {name: file[name].item() for name in ("fps", "first_frame", "person", "video", "name")}
            about = json.loads(file["about"].item())
    except (OSError, ValueError, KeyError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a motion ({error})") from error
    for name, array in arrays.items():
        wanted = (len(arrays["pose_3d"]), *_SHAPES[name])
        if array.shape != wanted:
            raise InputError(f"{path}: {name} has shape {array.shape}, and {wanted} is wanted")
    return Motion(**arrays, **scalars, about=about)
