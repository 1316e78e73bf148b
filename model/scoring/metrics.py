"""Pose errors, in the unit of the poses: of poses (..., 17, 3), one value each; of sequences (..., T, 17, 3), means.

Formulas: MPJPE, P-MPJPE and N-MPJPE as in VideoPose3D (Pavllo et al., CVPR 2019) and MotionBERT; PCK and its AUC as in
Mehta et al. (3DV 2017); those of sequences as in MotionBERT's lib/model/loss.py. Predictions and targets are expected
relative to their pelvis. All are finite, poses in one point and zero distances included, and so are the gradients;
P-MPJPE has none: it is for evaluation.
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


@torch.no_grad()
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


def auc(pred: Tensor, target: Tensor, largest: float = PCK_MM) -> Tensor:
    """Area under the PCK curve: its mean over `AUC_STEPS` thresholds from 0 to `largest`; (..., 17, 3) -> (...)."""
    thresholds = torch.linspace(0, largest, AUC_STEPS, dtype=pred.dtype, device=pred.device)
    below = torch.bucketize(joint_errors(pred, target), thresholds)  # thresholds that a joint is not within
    return 1 - below.to(pred.dtype).mean(dim=-1) / AUC_STEPS


def velocity_error(pred: Tensor, target: Tensor) -> Tensor:
    """MPJVE: mean distance of the joints' steps from one frame to the next; (..., T, 17, 3) -> scalar, per frame."""
    return joint_errors(pred.diff(dim=-3), target.diff(dim=-3)).mean()


def acceleration_error(pred: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the joints' second differences (HMMR, CVPR 2019); (..., T, 17, 3) -> scalar, per frame²."""
    return joint_errors(pred.diff(dim=-3, n=2), target.diff(dim=-3, n=2)).mean()


def limb_length_variance(pred: Tensor) -> Tensor:
    """Variance over time of every bone's length, mean over the bones: a body does not stretch; scalar, unit squared."""
    return bone_lengths(pred).var(dim=-2).mean()


def limb_length_error(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the bones' lengths; scalar."""
    return (bone_lengths(pred) - bone_lengths(target)).abs().mean()


def angle_error(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the angles between bones, in radians; scalar."""
    return (bone_angles(pred) - bone_angles(target)).abs().mean()


def angle_velocity_error(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the angles' steps from one frame to the next, in radians per frame; scalar."""
    return (bone_angles(pred).diff(dim=-2) - bone_angles(target).diff(dim=-2)).abs().mean()


def bone_lengths(poses: Tensor) -> Tensor:
    """Lengths of the bones in the order of `BONES`: (..., 17, 3) -> (..., 16)."""
    return torch.linalg.vector_norm(poses[..., _PARENT, :] - poses[..., _CHILD, :], dim=-1)


def bone_angles(poses: Tensor) -> Tensor:
    """Angles between pairs of bones, radians: (..., 17, 3) -> (..., 18)."""
    bones = poses[..., _PARENT, :] - poses[..., _CHILD, :]
    cosine = F.cosine_similarity(bones[..., _FIRST, :], bones[..., _SECOND, :], dim=-1)
    return torch.acos(cosine.clamp(-1 + _COSINE_MARGIN, 1 - _COSINE_MARGIN))
