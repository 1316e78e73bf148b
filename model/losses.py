"""Training losses on poses in normalised units; every term is a mean over the frames that count.

Formulas: MotionBERT (ICCV 2023, section 4.2): MPJPE + w * N-MPJPE + w * velocity. The focal weight is Focal-R (Yang et
al., Delving into Deep Imbalanced Regression, ICML 2021): an error e is weighted by (2 sigmoid(beta e) - 1)^gamma
so that joints already right count little. The weight carries no gradient: it shifts attention, not an error's
minimum.
"""

import torch
from torch import Tensor

from data_contracts.parameters import LossWeights
from model.metrics import joint_errors, n_mpjpe

FOCAL_BETA = 20.0  # in 1/normalised units: an error of 0.1 (about a tenth of half the figure) gets 0.76^gamma


def pose_loss(
    pred: Tensor, target: Tensor, frame_weight: Tensor, weights: LossWeights, focal_gamma: float = 0.0
) -> Tensor:
    """Weighted sum of the loss terms.

    Parameters
    ----------
    pred, target
        (B, T, 17, D), normalised units.
    frame_weight
        (B, T): 1 for frames that count, 0 for padding.

    Returns
    -------
    Tensor
        Scalar. Terms whose weight is 0 are not computed.
    """
    loss = pred.new_zeros(())
    if weights.mpjpe:
        errors = joint_errors(pred, target)  # (B, T, 17)
        if focal_gamma:
            errors = errors * focal_weight(errors, focal_gamma)
        loss = loss + weights.mpjpe * _mean(errors.mean(dim=-1), frame_weight)
    if weights.n_mpjpe:
        loss = loss + weights.n_mpjpe * _mean(n_mpjpe(pred, target), frame_weight)
    if weights.velocity and pred.shape[1] > 1:
        step_errors = joint_errors(pred.diff(dim=1), target.diff(dim=1)).mean(dim=-1)  # (B, T-1)
        loss = loss + weights.velocity * _mean(step_errors, frame_weight[:, 1:] * frame_weight[:, :-1])
    return loss


def focal_weight(errors: Tensor, gamma: float) -> Tensor:
    """Focal-R weight in [0, 1) of each error, without gradient; any shape."""
    return (2 * torch.sigmoid(FOCAL_BETA * errors.detach()) - 1) ** gamma


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1)
