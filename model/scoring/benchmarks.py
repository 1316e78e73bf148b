"""Scores of lifted poses by the protocol of a benchmark.

Poses are those of the network in overlapping windows, without the smoothing and the fit of `uplift lift`. Poses and
truth are in camera axes and relative to the pelvis; no rotation or position is fitted, except in P-MPJPE.

- Poses of frames without 2D keypoints are interpolated between the nearest frames with keypoints.
- MPJPE: the lifted body has the height `lift.height` (default 1.70 m). Nothing of the truth is used.
- MPJPE, true distance: the body's size follows from the size of its image and the true distance, as in MotionBERT.
- N-MPJPE, P-MPJPE, PCK at 150 mm and AUC: see `model.scoring.metrics`; the body has the height `lift.height`.
"""

from collections.abc import Sequence

import numpy as np
import torch

from data_contracts.benchmarks.clips import BenchmarkClip
from data_contracts.benchmarks.scores import BenchmarkScores
from data_contracts.parameters import LiftParameters
from data_contracts.report import PCK_MM
from data_contracts.skeleton import PELVIS
from model.lifting.cameras import PinholeCamera
from model.lifting.lift import DEFAULT_HEIGHT_M, lift_poses
from model.lifting.lifter import Lifter
from model.lifting.skeleton_fit import bone_lengths, metres_per_unit
from model.lifting.smoothing import values_at
from model.scoring.metrics import auc, mpjpe, n_mpjpe, p_mpjpe, pck

_CAMERA = PinholeCamera(1.0, (0.0, 0.0), 1, 1, "known", "given")  # keypoints of clips are rays already
_MM = 1000.0


def score_clip(lifter: Lifter, clip: BenchmarkClip, joints: Sequence[int], options: LiftParameters) -> BenchmarkScores:
    """Lift all frames of a clip, and return the scores of `joints` (indices of `JOINTS`) in its scored frames."""
    lifted = lift_poses(lifter, clip.keypoints, _CAMERA, clip.fps, options)
    known = np.flatnonzero(clip.detected)
    place = np.interp(np.arange(len(clip.detected)), known, np.arange(len(known)))
    pose, size = (values_at(values[known], place) for values in lifted)
    height = options.height or DEFAULT_HEIGHT_M
    lengths = bone_lengths(pose, clip.keypoints[..., 2])
    distance = np.linalg.norm(clip.truth[:, PELVIS], axis=-1)
    poses = pose * metres_per_unit(lengths, height, options.bones), pose * (size * distance)[:, None, None]
    of_height, at_distance = (each[clip.scored] for each in poses)
    return score_poses(of_height, at_distance, clip.truth[clip.scored], joints)


def score_poses(
    of_height: np.ndarray, at_distance: np.ndarray, truth: np.ndarray, joints: Sequence[int]
) -> BenchmarkScores:
    """Return the scores of poses (frames, 17, 3) in metres, sized by the body's height and by the true distance."""
    pred, scaled, target = (
        _MM * torch.from_numpy((pose - pose[:, [PELVIS]])[:, joints].astype(np.float64))
        for pose in (of_height, at_distance, truth)
    )
    scores = {
        "mpjpe_mm": mpjpe(pred, target),
        "distance_mpjpe_mm": mpjpe(scaled, target),
        "n_mpjpe_mm": n_mpjpe(pred, target),
        "p_mpjpe_mm": p_mpjpe(pred, target),
        "pck_150": pck(pred, target, PCK_MM),
        "auc_150": auc(pred, target),
    }
    return BenchmarkScores(frames=len(target), **{name: float(values.mean()) for name, values in scores.items()})
