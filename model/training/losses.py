"""Training losses on poses in normalised units: means over frames that are not padding and, with a mask, masked joints.

MotionBERT (ICCV 2023, section 4.2): MPJPE + w * N-MPJPE + w * velocity. The focal weight is Focal-R (Yang et al.,
Delving into Deep Imbalanced Regression, ICML 2021). The weight of an error e is (2 sigmoid(beta e) - 1)^gamma, which is
small for small errors. The weight has no gradient, so it does not move the minimum of an error.

Each part of a step (micro-batch, device) divides its sum of errors by the total weight of the whole step. Therefore the
sum of the parts' losses is the loss of the step.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_contracts.parameters import LossWeights
from data_contracts.skeleton import NUM_JOINTS
from model.scoring.metrics import best_scale, joint_errors

FOCAL_BETA = 20.0  # in 1/normalised units: an error of 0.1 gets the weight 0.76^gamma


@dataclass(frozen=True)
class ErrorWeights:
    """Weights of position errors, `joints` (B, T, 17), and of velocity errors, `steps` (B, T-1, 17).

    `joints_total` and `steps_total` are sums over all windows of the optimiser step, also if the weights are of a part.
    """

    joints: Tensor
    steps: Tensor
    joints_total: Tensor
    steps_total: Tensor

    @classmethod
    def of(cls, frame_weight: Tensor, masked: Tensor | None = None) -> "ErrorWeights":
        """Return weights of frames that are not padding (B, T); with `masked` (B, T, 17) only masked joints count."""
        pairs = frame_weight[:, 1:] * frame_weight[:, :-1]
        if masked is None:
            joints, steps = (weight[..., None].expand(*weight.shape, NUM_JOINTS) for weight in (frame_weight, pairs))
        else:
            joints = frame_weight[..., None] * masked
            steps = pairs[..., None] * (masked[:, 1:] | masked[:, :-1])
        return cls(joints, steps, joints.sum().clamp_min(1), steps.sum().clamp_min(1))

    def __getitem__(self, windows: slice) -> "ErrorWeights":
        return replace(self, joints=self.joints[windows], steps=self.steps[windows])


def pose_loss(
    pred: Tensor, target: Tensor, error_weights: ErrorWeights, weights: LossWeights, focal_gamma: float = 0.0
) -> Tensor:
    """Return the weighted sum of the loss terms, a scalar; `pred` and `target` (B, T, 17, D), normalised units."""
    loss = pred.new_zeros(())
    if weights.mpjpe:
        errors = joint_errors(pred, target)  # (B, T, 17)
        if focal_gamma:
            errors = errors * focal_weight(errors, focal_gamma)
        loss = loss + weights.mpjpe * (errors * error_weights.joints).sum() / error_weights.joints_total
    if weights.n_mpjpe:
        errors = joint_errors(best_scale(pred, target) * pred, target)
        loss = loss + weights.n_mpjpe * (errors * error_weights.joints).sum() / error_weights.joints_total
    if weights.velocity and pred.shape[1] > 1:
        step_errors = joint_errors(pred.diff(dim=1), target.diff(dim=1))  # (B, T-1, 17)
        loss = loss + weights.velocity * (step_errors * error_weights.steps).sum() / error_weights.steps_total
    return loss


def focal_weight(errors: Tensor, gamma: float) -> Tensor:
    """Return the Focal-R weight in [0, 1) of each error, without gradient; any shape."""
    return (2 * torch.sigmoid(FOCAL_BETA * errors.detach()) - 1) ** gamma
