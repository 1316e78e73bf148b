"""What a lifter must beat: mean depth, and a ridge regression from the whole 2D window to the whole 3D window.

Both take and give poses like a network: (B, T, 17, 3) normalised in, (B, T, 17, 3) root-relative normalised out.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.lifting import root_relative
from model.metrics import mpjpe
from model.windows import WindowTensors

Lifter = Callable[[Tensor], Tensor]
RIDGE_ALPHAS = (1e0, 1e1, 1e2, 1e3, 1e4)
_CHUNK = 4096


def mean_depth(train: WindowTensors) -> Lifter:
    """x and y from the input, z the training mean of each joint."""
    weight = train.frame_weight[..., None]  # (n, T, 1)
    depth = (train.pose_3d[..., 2] * weight).sum(dim=(0, 1)) / weight.sum()  # (17,)

    def predict(pose_2d: Tensor) -> Tensor:
        xy = root_relative(pose_2d[..., :2])
        return torch.cat((xy, depth.to(xy).expand(xy.shape[:-1]).unsqueeze(-1)), dim=-1)

    return predict


def linear(train: WindowTensors, val: WindowTensors) -> tuple[Lifter, float]:
    """Ridge regression, its penalty the one of `RIDGE_ALPHAS` with the lowest validation MPJPE.

    Normal equations in float64, gathered in one pass over the training windows; padded windows are left out.

    Returns
    -------
    (predict, alpha)
    """
    frames, joints = train.pose_2d.shape[1:3]
    features, targets = 2 * frames * joints + 1, 3 * frames * joints
    gram = torch.zeros(features, features, dtype=torch.float64)
    moment = torch.zeros(features, targets, dtype=torch.float64)
    whole = train.frame_weight.all(dim=1).nonzero()[:, 0]
    for index in whole.split(_CHUNK):
        x = _features(train.pose_2d[index]).double()
        gram += x.T @ x
        moment += x.T @ train.pose_3d[index].flatten(1).double()

    def predictor(alpha: float) -> Lifter:
        weights = torch.linalg.solve(gram + alpha * torch.eye(features, dtype=torch.float64), moment).float()
        return lambda pose_2d: root_relative((_features(pose_2d) @ weights).view(-1, frames, joints, 3))

    scored = []
    for alpha in RIDGE_ALPHAS:
        predict = predictor(alpha)
        errors = [
            mpjpe(predict(val.pose_2d[i : i + _CHUNK]), val.pose_3d[i : i + _CHUNK]) for i in range(0, len(val), _CHUNK)
        ]
        mm = torch.cat(errors) / val.scale[:, None] * val.frame_weight
        scored.append((float(mm.sum()), alpha, predict))
    _, alpha, predict = min(scored, key=lambda entry: entry[0])
    return predict, alpha


def _features(pose_2d: Tensor) -> Tensor:
    flat = pose_2d[..., :2].flatten(1)
    return torch.cat((flat, flat.new_ones(len(flat), 1)), dim=1)
