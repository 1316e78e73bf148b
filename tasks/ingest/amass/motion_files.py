"""Read a motion file of AMASS: the pose, translation and shape of a body model over time.

Two sets of keys exist. Source: amass.is.tue.mpg.de; the arrays were listed from the readers of public projects.

- SMPL-H: `poses` (n, 156), `trans`, `betas`, `gender` (str or bytes), `mocap_framerate`; `dmpls` are not used.
- SMPL-X (`*_stageii.npz`): `poses` (n, 165) or its parts `root_orient`, `pose_body`, `pose_jaw`, `pose_eye`,
  `pose_hand`; `mocap_frame_rate`. Its other arrays (markers, labels) may hold objects and are not read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.motion.body_models import GENDERS
from tasks.ingest.reading import read_members

KINDS = {52: "SMPL-H", 55: "SMPL-X"}  # number of bones -> kind of body model
MOST_FRAMES = 360_000  # an hour at 100 Hz
# Parts of SMPL-X's poses, in order -> columns
_PARTS = {"root_orient": 3, "pose_body": 63, "pose_jaw": 3, "pose_eye": 6, "pose_hand": 90}
_NEEDED_PARTS = ("root_orient", "pose_body")
_RATES = ("mocap_framerate", "mocap_frame_rate")
_KEYS = ("poses", *_PARTS, "trans", "betas", "gender", *_RATES)
_MOST_BYTES = MOST_FRAMES * 8 * (2 * sum(_PARTS.values()) + 3)  # SMPL-X files may have the poses and their parts


@dataclass(frozen=True)
class BodyMotion:
    """Motion of a body model."""

    path: Path
    poses: np.ndarray  # (n, 3 x joints), rotation of each joint relative to its parent: axis times radians
    trans: np.ndarray  # (n, 3), metres
    betas: np.ndarray  # (b,), shape
    gender: str
    fps: float


def read_body_motion(path: Path) -> BodyMotion | None:
    """Return the motion of an untrusted .npz of AMASS, or None if the file contains no poses.

    Raises
    ------
    InputError
        The file is damaged, an array is missing or has another shape, or the frame rate or gender is invalid.
    """
    arrays = read_members(path, _KEYS, _MOST_BYTES)
    if "poses" not in arrays and not any(name in arrays for name in _NEEDED_PARTS):
        return None
    try:
        poses = arrays["poses"] if "poses" in arrays else _joined(arrays)
        if poses.ndim != 2 or poses.shape[1] / 3 not in KINDS or poses.dtype.kind not in "iuf":
            raise InputError(f"poses are {poses.dtype.name} {poses.shape}; expected numbers (frames, 156 or 165)")
        if not 0 < len(poses) <= MOST_FRAMES:
            raise InputError(f"{len(poses)} frames; expected 1 to {MOST_FRAMES:,}")
        trans, betas = _needed(arrays, "trans"), _needed(arrays, "betas")
        _expect(trans, "trans", (len(poses), 3))
        _expect(betas, "betas", (betas.size,))
        return BodyMotion(path, poses, trans, betas, _gender(arrays), _fps(arrays))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _joined(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return poses (n, 165) from the parts of SMPL-X; a missing jaw, eye or hand is at rest."""
    frames = len(_needed(arrays, "root_orient")) if arrays.get("root_orient", np.zeros(())).ndim else 0
    for name in _NEEDED_PARTS:
        _needed(arrays, name)
    parts = []
    for name, width in _PARTS.items():
        part = arrays.get(name, np.zeros((frames, width), np.float32))
        _expect(part, name, (frames, width))
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _needed(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"no array {name}, which a motion of AMASS has")
    return arrays[name]


def _expect(array: np.ndarray, name: str, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise InputError(f"{name} is {array.dtype.name} {array.shape}; expected numbers {shape}")


def _gender(arrays: dict[str, np.ndarray]) -> str:
    value = _needed(arrays, "gender")
    text = value.reshape(-1)[0] if value.size == 1 and value.dtype.kind in "US" else ""
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
    if text.lower() not in GENDERS:
        raise InputError(f"gender is {text[:50]!a}; expected {', '.join(GENDERS)}")
    return text.lower()


def _fps(arrays: dict[str, np.ndarray]) -> float:
    value = next((arrays[name] for name in _RATES if name in arrays), None)
    if value is None:
        raise InputError(f"no array {' or '.join(_RATES)}, which has the frame rate")
    fps = float(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind in "iuf" else float("nan")
    if not 0 < fps <= 1000:
        raise InputError(f"the frame rate is {fps:g}; expected a number above 0 and at most 1000")
    return fps
