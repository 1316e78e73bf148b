"""Scores of 3D motion against marker truth, over all frames of a clip.

- Joints: hips, knees, ankles, shoulders, elbows and wrists, in the order of
  `data_contracts.motion.marker_truth.TRUTH_JOINTS`; metres, z up, the floor is z = 0.
- MPJPE (mm) is the mean distance of joints from the truth, both relative to the middle of the hips, without a scale.
  The direction of the camera is unknown, so one yaw or one rotation per clip first aligns the motion with the truth
  (least squares). With one yaw only a motion with a vertical z axis has a low error.
- A foot is in contact between two frames in which its true ankle is below 0.15 m and moves by less than 0.1 m/s.
"""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from data_contracts.errors import InputError
from data_contracts.motion.video_scores import VideoScores
from model.scoring.metrics import p_mpjpe

_HIPS, _ANKLES = [0, 3], [2, 5]
_KNEES = ((0, 1, 2), (3, 4, 5))  # hip, knee, ankle of each leg
_CONTACT_M, _CONTACT_M_PER_S = 0.15, 0.1
_MM = 1000.0


def score_clip(joints: np.ndarray, truth: np.ndarray, fps: float, has_path: bool = True) -> VideoScores:
    """Return the scores of `joints` (frames, 12, 3) against `truth` (frames, 12, 3).

    Frames with NaN in one of the arrays are not scored; if no frame is left, an InputError is raised. If `has_path` is
    false, `joints` are relative to the hips, and scores of feet, floor and path are None. Without a contact the scores
    of feet are None.

    - `p_mpjpe_mm`: MPJPE after the best rotation, translation and scale of each frame.
    - `lean_deg`: angle by which the rotation of the clip tilts the z axis.
    - `knee_deg`: root mean square error of the knee angle, mean of both knees.
    - `skating_mm_s`: mean speed of ankles in contact; `ankle_height_mm`: their mean height above the floor.
    - `penetration_mm`: mean depth of the lowest joint below the floor, 0 above it.
    - `root_path_mm`: mean distance of the middle of the hips from its true path, after one translation and yaw.
    """
    known = np.isfinite(joints).all(axis=(1, 2)) & np.isfinite(truth).all(axis=(1, 2))
    if not known.any():
        raise InputError("no frame has both a 3D pose and marker truth")
    moved, target = _from_hips(joints[known]), _from_hips(truth[known])
    rotation = Rotation.align_vectors(target.reshape(-1, 3), moved.reshape(-1, 3))[0].as_matrix()
    poses = torch.from_numpy(moved), torch.from_numpy(target)
    knees = [_angle(moved, knee) - _angle(target, knee) for knee in _KNEES]
    scores = {
        "mpjpe_yaw_mm": _distance_mm(_turned(moved, target), target),
        "mpjpe_rotation_mm": _distance_mm(moved @ rotation.T, target),
        "p_mpjpe_mm": _MM * float(p_mpjpe(*poses).mean()),
        "lean_deg": float(np.degrees(np.arccos(np.clip(rotation[2, 2], -1, 1)))),
        "knee_deg": float(np.mean([np.sqrt(np.mean(error**2)) for error in knees])),
    }
    if has_path:
        root, true_root = (_hips(path[known])[:, 0] for path in (joints, truth))
        root, true_root = root - root.mean(axis=0), true_root - true_root.mean(axis=0)
        scores["root_path_mm"] = _distance_mm(_turned(root, true_root), true_root)
        scores["penetration_mm"] = _MM * float(np.maximum(-joints[known][..., 2].min(axis=1), 0).mean())
        scores |= _foot_scores(joints[:, _ANKLES], truth[:, _ANKLES], fps)
    return VideoScores(frames=int(known.sum()), **scores)


def _foot_scores(ankles: np.ndarray, truth: np.ndarray, fps: float) -> dict[str, float]:
    """Return the scores of ankles (frames, 2, 3) in contact; empty if no foot is in contact."""
    speed, true_speed = (np.linalg.norm(np.diff(path, axis=0), axis=-1) * fps for path in (ankles, truth))
    is_low = np.maximum(truth[:-1, :, 2], truth[1:, :, 2]) < _CONTACT_M
    contact = is_low & (true_speed < _CONTACT_M_PER_S) & np.isfinite(speed)
    if not contact.any():
        return {}
    height = ankles[:-1, :, 2][contact]
    return {"skating_mm_s": _MM * float(speed[contact].mean()), "ankle_height_mm": _MM * float(height.mean())}


def _hips(joints: np.ndarray) -> np.ndarray:
    """Return the middle of the hips (frames, 1, 3)."""
    return np.asarray(joints[:, _HIPS].mean(axis=1, keepdims=True))


def _from_hips(joints: np.ndarray) -> np.ndarray:
    return np.asarray(joints - _hips(joints))


def _turned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return `points` (..., 3), turned about the z axis and the origin to the least squared distance from `target`."""
    plane, goal = (xyz[..., 0] + 1j * xyz[..., 1] for xyz in (points, target))
    yaw = np.angle((plane.conj() * goal).sum())
    plane = plane * np.exp(1j * yaw)
    return np.stack([plane.real, plane.imag, points[..., 2]], axis=-1)


def _distance_mm(points: np.ndarray, target: np.ndarray) -> float:
    return _MM * float(np.linalg.norm(points - target, axis=-1).mean())


def _angle(joints: np.ndarray, knee: tuple[int, int, int]) -> np.ndarray:
    """Return the angle at the knee (frames,) in degrees; 180 is a straight leg."""
    hip, middle, ankle = (joints[:, joint] for joint in knee)
    thigh, shin = hip - middle, ankle - middle
    cosine = (thigh * shin).sum(axis=-1) / np.linalg.norm(thigh, axis=-1) / np.linalg.norm(shin, axis=-1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
