"""Marker truth of a video: 3D joint centres from motion capture of the filmed motion.

`CLIP_truth.npz` has one row per frame of the video's keypoints:

- `joints` (frames, 12, 3): metres, y up, the floor is y = 0; `names` (12,): `TRUTH_JOINTS`
- `time` (frames,): seconds
- `mediapipe_world` (frames, 12, 3): MediaPipe's `pose_world_landmarks` of these joints, metres, y down
- `valid` (frames,), optional: false in frames without truth
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError, some
from data_contracts.skeleton import JOINTS

TRUTH_JOINTS = (  # names of OpenSim's bodies, which begin at these joints; right, then left
    "femur_r", "tibia_r", "talus_r", "femur_l", "tibia_l", "talus_l",
    "humerus_r", "radius_r", "hand_r", "humerus_l", "radius_l", "hand_l",
)  # fmt: skip
_SIDES, _LEG, _ARM = ("right", "left"), ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")
H36M_OF_TRUTH = [JOINTS.index(f"{side}_{joint}") for limb in (_LEG, _ARM) for side in _SIDES for joint in limb]


@dataclass(frozen=True)
class MarkerTruth:
    """Joints of the truth and of the detector's own 3D: (frames, 12, 3), metres, z up; NaN in frames without truth."""

    joints: np.ndarray
    detector: np.ndarray
    fps: float


def read_truth(path: Path) -> MarkerTruth:
    """Read a truth file; a damaged file or a file with another layout raises an InputError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = tuple(file["names"].tolist())
            arrays = {name: file[name].astype(np.float64) for name in ("time", "joints", "mediapipe_world")}
            valid = file["valid"].astype(bool) if "valid" in file else np.ones(arrays["time"].shape, bool)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as marker truth ({error}); see docs/results.md") from error
    if names != TRUTH_JOINTS:
        raise InputError(f"{path}: names are {some(names)}; names must be, in this order: {', '.join(TRUTH_JOINTS)}")
    frames = arrays["time"].size
    expected = {"time": (frames,), "valid": (frames,), "joints": (frames, 12, 3), "mediapipe_world": (frames, 12, 3)}
    for name, shape in expected.items():
        if (found := {**arrays, "valid": valid}[name].shape) != shape:
            raise InputError(f"{path}: {name} has shape {found}, expected {shape}")
    if frames < 2 or not (np.diff(arrays["time"]) > 0).all():
        raise InputError(f"{path}: time (seconds) must increase over its {frames} frames; at least 2 are needed")
    known = valid[:, None, None]
    x, y, z = np.moveaxis(np.where(known, arrays["joints"], np.nan), -1, 0)
    right, down, away = np.moveaxis(np.where(known, arrays["mediapipe_world"], np.nan), -1, 0)
    fps = (frames - 1) / float(arrays["time"][-1] - arrays["time"][0])
    return MarkerTruth(np.stack([x, -z, y], axis=-1), np.stack([right, away, -down], axis=-1), fps)
