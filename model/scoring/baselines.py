"""What a lifter must beat: mean depth, and a ridge regression from the whole 2D window to the whole 3D window.

Both take and give poses like a network: (B, T, 17, 3) normalised in, (B, T, 17, 3) root-relative normalised out.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from data_contracts.skeleton import NUM_JOINTS
from model.network.lifting import root_relative
from model.scoring.metrics import mpjpe
from model.windows.loading import Windows

Lifter = Callable[[Tensor], Tensor]
RIDGE_ALPHAS = (1e0, 1e1, 1e2, 1e3, 1e4)
_AT_ONCE = 1024  # windows


def mean_depth(train: Windows) -> Lifter:
    """x and y from the input, z the training mean of each joint."""
    total = torch.zeros(NUM_JOINTS, dtype=torch.float64)
    frames = torch.zeros((), dtype=torch.float64)
    for batch in train.batches(_AT_ONCE):
        total += (batch.pose_3d[..., 2] * batch.frame_weight[..., None]).sum(dim=(0, 1), dtype=torch.float64)
        frames += batch.frame_weight.sum(dtype=torch.float64)
    depth = total / frames  # (17,)

    def predict(pose_2d: Tensor) -> Tensor:
        xy = root_relative(pose_2d[..., :2])
        return torch.cat((xy, depth.to(xy).expand(xy.shape[:-1]).unsqueeze(-1)), dim=-1)

    return predict


def linear(train: Windows, val: Windows) -> tuple[Lifter, float]:
    """Ridge regression, its penalty the one of `RIDGE_ALPHAS` with the lowest validation MPJPE.

    Normal equations in float64, gathered in one pass over the training windows; padded windows are left out. One pass
    over the validation windows scores all penalties.

    Returns
    -------
    (predict, alpha)
    """
    features, targets = 2 * train.window * NUM_JOINTS + 1, 3 * train.window * NUM_JOINTS
    gram = torch.zeros(features, features, dtype=torch.float64)
    moment = torch.zeros(features, targets, dtype=torch.float64)
    for batch in train.batches(_AT_ONCE):
        whole = batch.select(batch.frame_weight.all(dim=1).nonzero()[:, 0])
        x = _features(whole.pose_2d).double()
        gram += x.T @ x
        moment += x.T @ whole.pose_3d.flatten(1).double()

    def predictor(alpha: float) -> Lifter:
        weights = torch.linalg.solve(gram + alpha * torch.eye(features, dtype=torch.float64), moment).float()
        return lambda pose_2d: root_relative((_features(pose_2d) @ weights).view(-1, train.window, NUM_JOINTS, 3))

    predictors = {alpha: predictor(alpha) for alpha in RIDGE_ALPHAS}
    error_m = dict.fromkeys(RIDGE_ALPHAS, 0.0)  # sums over frames
    for batch in val.batches(_AT_ONCE):
        weight = batch.frame_weight / batch.scale[:, None]
        for alpha, predict in predictors.items():
            error_m[alpha] += float((mpjpe(predict(batch.pose_2d), batch.pose_3d) * weight).sum())
    best = min(RIDGE_ALPHAS, key=lambda alpha: error_m[alpha])
    return predictors[best], best


def _features(pose_2d: Tensor) -> Tensor:
    flat = pose_2d[..., :2].flatten(1)
    return torch.cat((flat, flat.new_ones(len(flat), 1)), dim=1)
