"""Pose errors: tensors (..., 17, 3) to one value per pose, in the unit of the poses.

Formulas: MPJPE, P-MPJPE and N-MPJPE as in VideoPose3D (Pavllo et al., CVPR 2019) and MotionBERT; PCK as in Mehta et al.
(3DV 2017). Predictions and targets are expected relative to their pelvis.
"""

import torch
from torch import Tensor

PCK_MM = 150.0  # the threshold of every reported PCK


def joint_errors(pred: Tensor, target: Tensor) -> Tensor:
    """Distance of each joint from its target: (..., 17, 3) -> (..., 17)."""
    return torch.linalg.vector_norm(pred - target, dim=-1)


def mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Mean distance over the joints: (..., 17, 3) -> (...)."""
    return joint_errors(pred, target).mean(dim=-1)


def n_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the one scale per pose that fits best in least squares (Rhodin et al., CVPR 2018)."""
    scale = (target * pred).sum(dim=(-2, -1), keepdim=True)
    scale = scale / pred.square().sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(pred.dtype).tiny)
    return mpjpe(scale * pred, target)


def p_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best rotation, translation and scale per pose (Procrustes; Umeyama, PAMI 1991).

    Computed in float64. A pose whose joints all lie in one point has no rotation or scale to fit: it is only moved.
    """
    moved_pred, moved_target = (p.double() - p.double().mean(dim=-2, keepdim=True) for p in (pred, target))
    u, s, vt = torch.linalg.svd(moved_pred.transpose(-2, -1) @ moved_target)  # (..., 3, 3)
    sign = torch.linalg.det(u @ vt).sign()
    s = torch.cat((s[..., :2], s[..., 2:] * sign[..., None]), dim=-1)
    rotation = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1) @ vt
    scale = s.sum(dim=-1) / moved_pred.square().sum(dim=(-2, -1)).clamp_min(1e-30)
    return mpjpe(scale[..., None, None] * moved_pred @ rotation, moved_target).to(pred.dtype)


def pck(pred: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Share of joints within `threshold` (in the poses' unit) of their target: (..., 17, 3) -> (...), in [0, 1]."""
    return (joint_errors(pred, target) <= threshold).to(pred.dtype).mean(dim=-1)
