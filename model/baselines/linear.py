"""Baselines with a closed form, mean depth and ridge regression: 2D windows (B, T, 17, 3) to 3D poses (B, T, 17, 3)."""

import torch
from torch import Tensor, nn

from data_contracts.skeleton import NUM_JOINTS
from model.data.loading import Windows
from model.poses import root_relative
from model.scoring.metrics import mpjpe

RIDGE_PENALTIES = (1e0, 1e1, 1e2, 1e3, 1e4)
_AT_ONCE = 1024  # windows


class MeanDepth(nn.Module):
    """Predict x and y of the input, and as z each joint's mean training depth: `depth` (17,), normalised units."""

    depth: Tensor

    def __init__(self, depth: Tensor) -> None:
        super().__init__()
        self.register_buffer("depth", depth)

    def forward(self, pose_2d: Tensor) -> Tensor:
        xy = root_relative(pose_2d[..., :2])
        return torch.cat((xy, self.depth.to(xy).expand(xy.shape[:-1]).unsqueeze(-1)), dim=-1)


class Linear(nn.Module):
    """Map x and y of all joints and T frames, and a constant, linearly to the 3D window: `weights` (34 T + 1, 51 T)."""

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, pose_2d: Tensor) -> Tensor:
        return _poses(_features(pose_2d) @ self.weights)


def fit_mean_depth(train: Windows) -> MeanDepth:
    """Return the baseline with the mean depth of each joint over the training frames; padding does not count."""
    total = torch.zeros(NUM_JOINTS, dtype=torch.float64)
    frames = torch.zeros((), dtype=torch.float64)
    for batch in train.batches(_AT_ONCE):
        weighted = batch.pose_3d[..., 2] * batch.frame_weight[..., None]
        total += weighted.sum(dim=(0, 1), dtype=torch.float64).cpu()
        frames += batch.frame_weight.sum(dtype=torch.float64).cpu()
    return MeanDepth((total / frames).float())


def fit_linear(train: Windows, val: Windows) -> tuple[Linear, float]:
    """Return a ridge regression, and its penalty: the one in `RIDGE_PENALTIES` with the lowest validation MPJPE.

    The normal equations are accumulated in float64, in one pass over the unpadded training windows on their device.
    Let G = V diag(g) V' be the Gram matrix and M the moments. The weights for penalty a are then
    V diag(1 / (g + a)) V' M, so one decomposition serves all penalties.
    """
    gram, moment = _normal_equations(train)
    values, axes = torch.linalg.eigh(gram)
    del gram  # 0.5 GB at 243 frames
    moment = axes.T @ moment  # in the eigenbasis
    values.clamp_(min=0)  # rounding can make eigenvalues of a rank-deficient matrix negative
    errors_m = _validation_errors(values.float(), axes.float(), moment.float(), val)
    penalty = min(RIDGE_PENALTIES, key=lambda penalty: errors_m[penalty])
    moment /= (values + penalty)[:, None]
    return Linear((axes @ moment).float().cpu()), penalty


def _normal_equations(train: Windows) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix (F, F) of the features, and the products (F, 51 T) of features and 3D poses."""
    features, targets = 2 * train.window * NUM_JOINTS + 1, 3 * train.window * NUM_JOINTS
    device = train.pick([0]).scale.device
    gram = torch.zeros(features, features, dtype=torch.float64, device=device)
    moment = torch.zeros(features, targets, dtype=torch.float64, device=device)
    for batch in train.batches(_AT_ONCE):
        whole = batch.select(batch.frame_weight.all(dim=1).nonzero()[:, 0])
        x = _features(whole.pose_2d).double()
        gram.addmm_(x.T, x)
        moment.addmm_(x.T, whole.pose_3d.flatten(1).double())
    return gram, moment


def _validation_errors(values: Tensor, axes: Tensor, moment: Tensor, val: Windows) -> dict[float, float]:
    """Return the sum of the errors over all frames of `val` in metres, by penalty; `moment` is in the basis `axes`."""
    errors_m = dict.fromkeys(RIDGE_PENALTIES, 0.0)
    for batch in val.batches(_AT_ONCE):
        turned = _features(batch.pose_2d) @ axes  # (B, F)
        weight = batch.frame_weight / batch.scale[:, None]
        for penalty in RIDGE_PENALTIES:
            pred = _poses((turned / (values + penalty)) @ moment)
            errors_m[penalty] += float((mpjpe(pred, batch.pose_3d) * weight).sum())
    return errors_m


def _features(pose_2d: Tensor) -> Tensor:
    """Return the features (B, 34 T + 1) of (B, T, 17, 3): x and y of the window, and 1."""
    flat = pose_2d[..., :2].flatten(1)
    return torch.cat((flat, flat.new_ones(len(flat), 1)), dim=1)


def _poses(flat: Tensor) -> Tensor:
    """Reshape (B, 51 T) to (B, T, 17, 3), relative to the pelvis."""
    return root_relative(flat.view(len(flat), -1, NUM_JOINTS, 3))
