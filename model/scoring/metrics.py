"""Pose errors in the unit of the poses: one value per pose (..., 17, 3), or means over sequences (..., T, 17, 3).

Formulas: MPJPE, P-MPJPE and N-MPJPE as in VideoPose3D (Pavllo et al., CVPR 2019) and MotionBERT; PCK and its AUC as in
Mehta et al. (3DV 2017); sequence errors as in MotionBERT's lib/model/loss.py. Predictions and targets are relative to
their pelvis. Values and gradients are finite, also for degenerate poses and zero distances. P-MPJPE has no gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from data_contracts.report import PCK_MM
from data_contracts.skeleton import BONES

AUC_STEPS = 31  # thresholds of the AUC: 0, 5, ..., 150 mm

_PARENT, _CHILD = (list(side) for side in zip(*BONES, strict=True))
_ANGLES = (
    *((0, 3), (0, 6), (3, 6), (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 10)),
    *((7, 13), (8, 13), (10, 13), (7, 8), (8, 9), (10, 11), (11, 12), (13, 14), (14, 15)),
)  # pairs of bones of MotionBERT's angle loss
_FIRST, _SECOND = (list(side) for side in zip(*_ANGLES, strict=True))
_COSINE_MARGIN = 1e-7  # as MotionBERT: the arc cosine has no gradient at +-1


def joint_errors(pred: Tensor, target: Tensor) -> Tensor:
    """Return the distance of each joint from its target: (..., 17, 3) -> (..., 17)."""
    return torch.linalg.vector_norm(pred - target, dim=-1)


def mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance over the joints: (..., 17, 3) -> (...)."""
    return joint_errors(pred, target).mean(dim=-1)


def n_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Return the MPJPE after the least-squares scale per pose (Rhodin et al., CVPR 2018)."""
    scale = (target * pred).sum(dim=(-2, -1), keepdim=True)
    scale = scale / pred.square().sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(pred.dtype).tiny)
    return mpjpe(scale * pred, target)


@torch.no_grad()
def p_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Return the MPJPE after the best rotation, translation and scale per pose (Procrustes; Umeyama, PAMI 1991).

    Computed in float64. A pose whose joints coincide has no rotation or scale to fit, so it is only translated.
    """
    moved_pred, moved_target = (p.double() - p.double().mean(dim=-2, keepdim=True) for p in (pred, target))
    u, s, vt = torch.linalg.svd(moved_pred.transpose(-2, -1) @ moved_target)  # (..., 3, 3)
    sign = torch.linalg.det(u @ vt).sign()
    s = torch.cat((s[..., :2], s[..., 2:] * sign[..., None]), dim=-1)
    rotation = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1) @ vt
    scale = s.sum(dim=-1) / moved_pred.square().sum(dim=(-2, -1)).clamp_min(1e-30)
    return mpjpe(scale[..., None, None] * moved_pred @ rotation, moved_target).to(pred.dtype)


def pck(pred: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Return the share of joints within `threshold` (unit of the poses) of their target: (..., 17, 3) -> (...)."""
    return (joint_errors(pred, target) <= threshold).to(pred.dtype).mean(dim=-1)


def auc(pred: Tensor, target: Tensor, largest: float = PCK_MM) -> Tensor:
    """Return the mean PCK over `AUC_STEPS` thresholds from 0 to `largest`: (..., 17, 3) -> (...)."""
    thresholds = torch.linspace(0, largest, AUC_STEPS, dtype=pred.dtype, device=pred.device)
    below = torch.bucketize(joint_errors(pred, target), thresholds)  # number of thresholds below the error
    return 1 - below.to(pred.dtype).mean(dim=-1) / AUC_STEPS


def velocity_error(pred: Tensor, target: Tensor) -> Tensor:
    """Return MPJVE, the mean distance of joint steps between frames: (..., T, 17, 3) -> scalar, per frame."""
    return joint_errors(pred.diff(dim=-3), target.diff(dim=-3)).mean()


def acceleration_error(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of second differences (HMMR, CVPR 2019): (..., T, 17, 3) -> scalar, per frame²."""
    return joint_errors(pred.diff(dim=-3, n=2), target.diff(dim=-3, n=2)).mean()


def limb_length_variance(pred: Tensor) -> Tensor:
    """Return the variance of bone lengths over time, mean over bones; scalar, unit squared."""
    return bone_lengths(pred).var(dim=-2).mean()


def limb_length_error(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of bone lengths; scalar."""
    return (bone_lengths(pred) - bone_lengths(target)).abs().mean()


def angle_error(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of angles between bones, radians; scalar."""
    return (bone_angles(pred) - bone_angles(target)).abs().mean()


def angle_velocity_error(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of angle steps between frames, radians per frame; scalar."""
    return (bone_angles(pred).diff(dim=-2) - bone_angles(target).diff(dim=-2)).abs().mean()


def bone_lengths(poses: Tensor) -> Tensor:
    """Return bone lengths in the order of `BONES`: (..., 17, 3) -> (..., 16)."""
    return torch.linalg.vector_norm(poses[..., _PARENT, :] - poses[..., _CHILD, :], dim=-1)


def bone_angles(poses: Tensor) -> Tensor:
    """Return angles between pairs of bones, radians: (..., 17, 3) -> (..., 18)."""
    bones = poses[..., _PARENT, :] - poses[..., _CHILD, :]
    cosine = F.cosine_similarity(bones[..., _FIRST, :], bones[..., _SECOND, :], dim=-1)
    return torch.acos(cosine.clamp(-1 + _COSINE_MARGIN, 1 - _COSINE_MARGIN))
