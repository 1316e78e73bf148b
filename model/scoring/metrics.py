"""Pose errors in the unit of the poses: one value per pose (..., 17, 3).

Formulas: MPJPE, P-MPJPE and N-MPJPE as in VideoPose3D (Pavllo et al., CVPR 2019) and MotionBERT; PCK and its AUC as in
Mehta et al. (3DV 2017). Predictions and targets are relative to their pelvis. Values and gradients are finite, also for
degenerate poses and zero distances. P-MPJPE has no gradient.
"""

import torch
from torch import Tensor

from data_contracts.report import PCK_MM

AUC_STEPS = 31  # thresholds of the AUC: 0, 5, ..., 150 mm


def joint_errors(pred: Tensor, target: Tensor) -> Tensor:
    """Return the distance of each joint from its target: (..., 17, 3) -> (..., 17)."""
    return torch.linalg.vector_norm(pred - target, dim=-1)


def mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance over the joints: (..., 17, 3) -> (...)."""
    return joint_errors(pred, target).mean(dim=-1)


def best_scale(pred: Tensor, target: Tensor) -> Tensor:
    """Return the least-squares scale from each pose to its target: (..., 17, 3) -> (..., 1, 1)."""
    product = (target * pred).sum(dim=(-2, -1), keepdim=True)
    return product / pred.square().sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(pred.dtype).tiny)


def n_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Return the MPJPE after the least-squares scale of each pose (Rhodin et al., CVPR 2018): (..., 17, 3) -> (...)."""
    return mpjpe(best_scale(pred, target) * pred, target)


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


def auc(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean PCK over `AUC_STEPS` thresholds from 0 to `PCK_MM`: (..., 17, 3) in mm -> (...)."""
    thresholds = torch.linspace(0, PCK_MM, AUC_STEPS, dtype=pred.dtype, device=pred.device)
    below = torch.bucketize(joint_errors(pred, target), thresholds)  # number of thresholds below the error
    return 1 - below.to(pred.dtype).mean(dim=-1) / AUC_STEPS
