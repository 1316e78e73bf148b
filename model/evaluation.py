"""Evaluation of a lifter on one split: scores over all its frames, and errors per window for paired comparisons.

Windows overlap. As in the literature (MotionBERT, VideoPose3D) a frame's error is the mean over the windows that cover
it, and every frame of a clip and camera counts once. So an error in a window is weighted by one over the number of
windows that cover its frame, which the table of windows tells beforehand, and one pass adds everything up.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor

from data_contracts.report import MethodScores
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from model.baselines import Lifter
from model.batches import mirror
from model.dstformer import DSTformer
from model.lifting import lift
from model.metrics import PCK_MM, auc, joint_errors, n_mpjpe, p_mpjpe
from model.windows import Windows


@dataclass
class Evaluation:
    """`scores` over the split's `frames`; `errors`: a row per window with `mpjpe_mm`, `p_mpjpe_mm`, means over it."""

    scores: MethodScores
    frames: int
    errors: pd.DataFrame


def network_lifter(network: DSTformer, fabric: Fabric, flip: bool) -> Lifter:
    """The network as a lifter of CPU tensors, computed on Fabric's device in its precision.

    With `flip` it is the mean of what it makes of a window and, mirrored back, of the window's mirror image.
    """
    module = fabric.setup(network.eval())

    @torch.inference_mode()
    def predict(pose_2d: Tensor) -> Tensor:
        given = pose_2d.to(fabric.device)
        lifted = lift(module, given)
        if flip:
            lifted = (lifted + mirror(lift(module, mirror(given)))) / 2
        return lifted.cpu()

    return predict


def evaluate(predict: Lifter, windows: Windows, batch_size: int, fabric: Fabric | None = None) -> Evaluation:
    """Scores of `predict` on every frame of `windows` that is not padding.

    Parameters
    ----------
    fabric
        Of several processes, each of which calls this and gets the scores of all: they share the batches.
    """
    world, rank = (fabric.world_size, fabric.global_rank) if fabric else (1, 0)
    covering = Covering(windows.rows, windows.window)
    actions, action_of = np.unique(windows.rows["action"].to_numpy(dtype=str), return_inverse=True)
    scores = torch.zeros(len(_Sums.names), dtype=torch.float64)
    joints = torch.zeros(NUM_JOINTS, dtype=torch.float64)
    by_action = torch.zeros(len(actions), 2, dtype=torch.float64)  # errors, weights
    by_window = torch.zeros(len(windows), 3, dtype=torch.float64)  # sums over frames of MPJPE, P-MPJPE; frames
    for number, batch in enumerate(windows.batches(batch_size)):
        if number % world != rank:
            continue
        rows = slice(number * batch_size, number * batch_size + len(batch))
        millimetres = (1000 / batch.scale).view(-1, 1, 1, 1)
        sums = _Sums(predict(batch.pose_2d) * millimetres, batch.pose_3d * millimetres)
        once = batch.frame_weight.double() / covering.frames(rows)  # (B, T)
        pairs = (batch.frame_weight[:, 1:] * batch.frame_weight[:, :-1]).double() / covering.pairs(rows)
        scores += sums.weighted(once, pairs)
        joints += (sums.errors * once[..., None]).sum(dim=(0, 1))
        of_windows = torch.stack(((sums.mpjpe * once).sum(dim=1), once.sum(dim=1)), dim=-1)
        by_action.index_add_(0, torch.from_numpy(action_of[rows]), of_windows)
        by_window[rows] = sums.of_windows(batch.frame_weight.double())
    if fabric is not None and world > 1:
        scores, joints, by_action, by_window = (
            _summed(values, fabric) for values in (scores, joints, by_action, by_window)
        )
    return _evaluation(windows, scores, joints, dict(zip(actions, by_action.tolist(), strict=True)), by_window)


class _Sums:
    """Errors of a batch in mm, poses (B, T, 17, 3)."""

    names = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "pck_150", "auc_150", "frames", "mpjve_mm", "pairs")

    def __init__(self, pred: Tensor, target: Tensor) -> None:
        self.errors = joint_errors(pred, target).double()  # (B, T, 17)
        self.mpjpe = self.errors.mean(dim=-1)  # (B, T)
        self.p_mpjpe = p_mpjpe(pred, target).double()
        within = (self.errors <= PCK_MM).double().mean(dim=-1)
        self.of_frames = (self.mpjpe, self.p_mpjpe, n_mpjpe(pred, target), within, auc(pred, target))
        self.of_pairs = joint_errors(pred.diff(dim=1), target.diff(dim=1)).double().mean(dim=-1)  # (B, T-1)

    def weighted(self, once: Tensor, pairs: Tensor) -> Tensor:
        """Weighted sums in the order of `names`."""
        of_frames = [(values * once).sum() for values in self.of_frames]
        return torch.stack([*of_frames, once.sum(), (self.of_pairs * pairs).sum(), pairs.sum()])

    def of_windows(self, frame_weight: Tensor) -> Tensor:
        """(B, 3): sums over a window's frames of MPJPE and P-MPJPE, and the frames."""
        sums = ((self.mpjpe * frame_weight).sum(dim=1), (self.p_mpjpe * frame_weight).sum(dim=1))
        return torch.stack((*sums, frame_weight.sum(dim=1)), dim=-1)


class Covering:
    """How many windows cover a frame, and a pair of consecutive frames.

    A clip shorter than the window has a single one, so padding never lies over another window's frames.
    """

    def __init__(self, rows: pd.DataFrame, window: int) -> None:
        starts = rows["start"].to_numpy(dtype=np.int64)
        views = rows.groupby(["clip_id", "camera"], sort=False).ngroup().to_numpy()
        lengths = np.zeros(views.max() + 1, dtype=np.int64)
        np.maximum.at(lengths, views, starts + window)
        self._first = (np.cumsum(lengths) - lengths)[views] + starts  # of each window, in one line of all frames
        self._window = window
        self._counts = [self._count(length, int(lengths.sum())) for length in (window, window - 1)]

    def frames(self, rows: slice) -> Tensor:
        """(B, T) float64, of the windows at `rows`."""
        return torch.from_numpy(self._counts[0][self._first[rows, None] + np.arange(self._window)])

    def pairs(self, rows: slice) -> Tensor:
        """(B, T-1) float64: of the pairs that begin at each frame but the last."""
        return torch.from_numpy(self._counts[1][self._first[rows, None] + np.arange(self._window - 1)])

    def _count(self, length: int, frames: int) -> np.ndarray:
        begun = np.bincount(self._first, minlength=frames + 1)
        ended = np.bincount(self._first + length, minlength=frames + 1)
        return np.cumsum(begun - ended).astype(np.float64)


def _evaluation(
    windows: Windows, scores: Tensor, joints: Tensor, by_action: dict[str, list[float]], by_window: Tensor
) -> Evaluation:
    sums = dict(zip(_Sums.names, scores.tolist(), strict=True))
    frames, pairs = sums.pop("frames"), sums.pop("pairs")
    mpjpe, p_mpjpe_, count = by_window.unbind(dim=1)
    errors = windows.rows[["window_id", "clip_id", "group", "action"]].assign(
        frames=count.numpy(), mpjpe_mm=(mpjpe / count).numpy(), p_mpjpe_mm=(p_mpjpe_ / count).numpy()
    )
    return Evaluation(
        MethodScores(
            **{name: value / frames for name, value in sums.items() if name != "mpjve_mm"},
            mpjve_mm=sums["mpjve_mm"] / max(pairs, 1),
            per_joint_mm=dict(zip(JOINTS, (joints / frames).tolist(), strict=True)),
            per_action_mm={action: error / weight for action, (error, weight) in by_action.items()},
        ),
        round(frames),
        errors,
    )


def _summed(values: Tensor, fabric: Fabric) -> Tensor:
    summed = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed.cpu()
