"""Evaluation of a lifter on one split: scores over all its frames, and errors per window for paired comparisons.

Windows overlap. As in the literature (MotionBERT's train.py, VideoPose3D) a frame's error is the mean over the windows
that cover it, and every frame of a clip and camera counts once. So an error in a window is weighted by one over the
number of windows that cover its frame, which the table of windows tells beforehand, and one pass adds everything up.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from data_contracts.report import MethodScores
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from model.network.lifting import Lifter, lift
from model.scoring.metrics import PCK_MM, auc, joint_errors, mpjpe, n_mpjpe, p_mpjpe, pck
from model.windows.loading import Windows

_OF_FRAMES = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "pck_150", "auc_150")


@dataclass
class Evaluation:
    """`scores` over the split's `frames`, each counted once; `errors`: a row per window.

    `mpjpe_mm` and `p_mpjpe_mm` of a window are means over its `frames` that are not padding, in which a frame that n
    windows cover weighs 1/n; `weight` is the sum of these weights. So the mean of the errors by `weight` is the score.
    """

    scores: MethodScores
    frames: int
    errors: pd.DataFrame


def network_lifter(network: nn.Module, fabric: Fabric, flip: bool) -> Lifter:
    """The network as a lifter of CPU tensors, computed on Fabric's device in its precision; `flip` as in `lift`."""
    module = fabric.setup(network.eval())

    @torch.inference_mode()
    def predict(pose_2d: Tensor) -> Tensor:
        return lift(module, pose_2d.to(fabric.device), flip).cpu()

    return predict


def evaluate(predict: Lifter, windows: Windows, batch_size: int, fabric: Fabric | None = None) -> Evaluation:
    """Scores of `predict` on every frame of `windows` that is not padding.

    Parameters
    ----------
    fabric
        Of several processes, each of which calls this and gets the scores of all: they share the batches.
    """
    world, rank = (fabric.world_size, fabric.global_rank) if fabric else (1, 0)
    coverage = Coverage(windows.rows, windows.window)
    actions, action_of = np.unique(windows.rows["action"].to_numpy(dtype=str), return_inverse=True)
    by_action = torch.zeros(len(actions), len(_OF_FRAMES) + NUM_JOINTS + 1, dtype=torch.float64)
    by_window = torch.zeros(len(windows), 4, dtype=torch.float64)  # sums of MPJPE and P-MPJPE, weight, frames
    velocity = torch.zeros(2, dtype=torch.float64)  # sum over pairs of consecutive frames, pairs
    for number, batch in enumerate(windows.batches(batch_size)):
        if number % world != rank:
            continue
        rows = slice(number * batch_size, number * batch_size + len(batch))
        millimetres = (1000 / batch.scale).view(-1, 1, 1, 1)
        pred, target = predict(batch.pose_2d) * millimetres, batch.pose_3d * millimetres
        counting = batch.frame_weight.double()
        share = counting / coverage.of_frames(rows)  # (B, T)
        pair_share = counting[:, :-1] * counting[:, 1:] / coverage.of_pairs(rows)  # (B, T-1)
        sums = torch.einsum("bts,bt->bs", _of_frames(pred, target), share)
        by_action.index_add_(0, torch.from_numpy(action_of[rows]), sums)
        by_window[rows] = torch.cat((sums[:, [0, 1, -1]], counting.sum(dim=1, keepdim=True)), dim=1)
        steps = mpjpe(pred.diff(dim=1), target.diff(dim=1))  # (B, T-1)
        velocity += torch.stack(((steps * pair_share).sum(), pair_share.sum()))
    if fabric is not None and world > 1:
        by_action, by_window, velocity = (_summed(sums, fabric) for sums in (by_action, by_window, velocity))
    return _evaluation(windows.rows, dict(zip(actions, by_action, strict=True)), by_window, velocity)


class Coverage:
    """How many windows cover a frame, and a pair of consecutive frames, of a clip and camera.

    The rows' `start` tells: a clip shorter than the window has a single one (`window_starts` of the convert stage), so
    padding never lies over a frame of another window.
    """

    def __init__(self, rows: pd.DataFrame, window: int) -> None:
        starts = rows["start"].to_numpy(dtype=np.int64)
        views = rows.groupby(["clip_id", "camera"]).ngroup().to_numpy()
        self._first = torch.from_numpy(views * (starts.max() + window) + starts)  # views one after the other on a line
        self._sorted = self._first.sort().values
        self._window = window

    def of_frames(self, rows: slice) -> Tensor:
        """(B, T) of the windows at `rows`."""
        return self._covering(rows, self._window)

    def of_pairs(self, rows: slice) -> Tensor:
        """(B, T-1) of the windows at `rows`: of each frame with the next."""
        return self._covering(rows, self._window - 1)

    def _covering(self, rows: slice, length: int) -> Tensor:
        """A stretch of `length` frames covers a frame if it begins there or up to `length` - 1 before."""
        place = self._first[rows, None] + torch.arange(length)
        begun, ended = (torch.searchsorted(self._sorted, at, right=True) for at in (place, place - length))
        return begun - ended


def _of_frames(pred: Tensor, target: Tensor) -> Tensor:
    """Poses (B, T, 17, 3) in mm -> (B, T, 5 + 17 + 1): the scores `_OF_FRAMES`, the error of each joint, and 1."""
    scores = (
        mpjpe(pred, target),
        p_mpjpe(pred, target),
        n_mpjpe(pred, target),
        pck(pred, target, PCK_MM),
        auc(pred, target),
    )
    ones = torch.ones_like(pred[..., 0, :1])  # (B, T, 1)
    return torch.cat((torch.stack(scores, dim=-1), joint_errors(pred, target), ones), dim=-1).double()


def _evaluation(rows: pd.DataFrame, by_action: dict[str, Tensor], by_window: Tensor, velocity: Tensor) -> Evaluation:
    *sums, frames = torch.stack(list(by_action.values())).sum(dim=0).tolist()
    means = [value / frames for value in sums]
    mpjpe_, p_mpjpe_, weight, count = by_window.T.numpy()
    errors = rows[["window_id", "clip_id", "group", "action"]].assign(
        frames=count, weight=weight, mpjpe_mm=mpjpe_ / weight, p_mpjpe_mm=p_mpjpe_ / weight
    )
    scores = MethodScores(
        **dict(zip(_OF_FRAMES, means[: len(_OF_FRAMES)], strict=True)),
        mpjve_mm=float(velocity[0] / velocity[1].clamp_min(1)),  # 0 where windows are single frames
        per_joint_mm=dict(zip(JOINTS, means[len(_OF_FRAMES) :], strict=True)),
        per_action_mm={action: float(of_action[0] / of_action[-1]) for action, of_action in by_action.items()},
    )
    return Evaluation(scores, round(frames), errors)


def _summed(values: Tensor, fabric: Fabric) -> Tensor:
    summed = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed.cpu()
