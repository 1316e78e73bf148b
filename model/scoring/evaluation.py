"""Evaluate lifters on one split, also with detector errors: noise, missing joints, joints of detector skeletons.

Windows overlap. The error of a frame is the mean over the windows that cover the frame, and every frame of a clip and
camera counts once, as in MotionBERT's train.py and VideoPose3D. So an error in a window is weighted by one over
the number of windows that cover its frame. The table of windows determines this number, so one pass is enough.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import CorruptionParameters, DetectorNoise
from data_contracts.report import (
    JOINT_COLUMNS,
    PCK_CURVE_MM,
    PCK_MM,
    SCORE_COLUMNS,
    WEIGHT_COLUMNS,
    WINDOW_COLUMNS,
    Robustness,
    weight_column,
)
from model.data.corruption import corrupt, derived_joints
from model.data.loading import Windows, WindowTensors, some_of
from model.data.seeding import generator_at
from model.scoring.metrics import auc, joint_errors, mpjpe, n_mpjpe, p_mpjpe, pck
from model.training.devices import sum_over_devices

_OF_FRAMES = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "pck_150", "auc_150", *JOINT_COLUMNS.values())
_SUMS = (*_OF_FRAMES, "weight", "mpjve_mm", "pair_weight", "accel_mm", "triple_weight", "frames")
_CORRUPTIONS = {
    "noise": CorruptionParameters(noise=DetectorNoise()),
    "missing": CorruptionParameters(joint_share=0.2, fill="zero"),
}
_SEED = 0

Method = Callable[[Tensor], Tensor]  # 2D windows (B, T, 17, 3) -> poses relative to the pelvis, normalised units


@dataclass
class Evaluation:
    """Scores of a method on a split (by `SCORE_COLUMNS`), number of frames, PCK curve, and `errors` by window.

    The score of a window is a mean over its frames without padding, in which a frame covered by n windows has weight
    1/n; `weight` is the sum of these weights. `pair_weight` and `triple_weight` are the weights of two and three
    consecutive frames, for MPJVE and the acceleration error. The score of the split is the weighted mean.
    """

    scores: dict[str, float]
    frames: int
    errors: pd.DataFrame
    pck_curve: tuple[float, ...]


def method_of(lifter: nn.Module, fabric: Fabric) -> Method:
    """Return a `Lifter` as a function of CPU tensors that computes on Fabric's device, in Fabric's precision."""
    module = fabric.setup(lifter)

    @torch.inference_mode()
    def predict(pose_2d: Tensor) -> Tensor:
        return module(pose_2d.to(fabric.device)).cpu()

    return predict


def evaluate(predict: Method, windows: Windows, batch_size: int, fabric: Fabric | None = None) -> Evaluation:
    """Score `predict` on all frames of `windows` that are not padding; each process of `fabric` returns all scores."""
    world, rank = (fabric.world_size, fabric.global_rank) if fabric else (1, 0)
    coverage = Coverage(windows.rows, windows.window)
    by_window = torch.zeros(len(windows), len(_SUMS), dtype=torch.float64)
    thresholds = torch.tensor(PCK_CURVE_MM, dtype=torch.float32)
    within = torch.zeros(len(thresholds) + 1, dtype=torch.float64)  # weighted joints between consecutive thresholds
    for number, batch in enumerate(windows.batches(batch_size)):
        if number % world != rank:
            continue
        rows = slice(number * batch_size, number * batch_size + len(batch))
        millimetres = (1000 / batch.scale).view(-1, 1, 1, 1)
        pred, target = predict(batch.pose_2d) * millimetres, batch.pose_3d * millimetres
        counting = batch.frame_weight.double()
        share = counting / coverage.of(rows)  # (B, T)
        errors = joint_errors(pred, target)  # (B, T, 17)
        sums = [torch.einsum("bts,bt->bs", _of_frames(pred, target, errors), share), share.sum(dim=1, keepdim=True)]
        for order in (1, 2):
            together = counting.unfold(1, order + 1, 1).prod(dim=-1) if order < windows.window else counting[:, :0]
            weight = together / coverage.of(rows, order)  # (B, T - order)
            steps = mpjpe(pred.diff(dim=1, n=order), target.diff(dim=1, n=order))
            sums += [(steps * weight).sum(dim=1, keepdim=True), weight.sum(dim=1, keepdim=True)]
        by_window[rows] = torch.cat((*sums, counting.sum(dim=1, keepdim=True)), dim=1)
        place = torch.bucketize(errors, thresholds)
        within += torch.bincount(place.flatten(), share[..., None].expand_as(errors).flatten(), len(within))
    if fabric is not None:
        by_window, within = sum_over_devices(by_window, fabric), sum_over_devices(within, fabric)
    curve = (within.cumsum(dim=0) / within.sum())[:-1]
    return _evaluation(windows.rows, by_window, tuple(curve.tolist()))


class Coverage:
    """Number of windows that cover a frame, or consecutive frames, of a clip and camera.

    A clip shorter than the window has one window, so padding never overlaps a frame of another window.
    """

    def __init__(self, rows: pd.DataFrame, window: int) -> None:
        starts = rows["start"].to_numpy(dtype=np.int64)
        views = rows.groupby(["clip_id", "camera"]).ngroup().to_numpy()
        # views one after the other on one axis
        self._first = torch.from_numpy(views * (starts.max() + window) + starts)
        self._sorted = self._first.sort().values
        self._window = window

    def of(self, rows: slice, later: int = 0) -> Tensor:
        """Return (B, T - later): the number of windows that cover a frame of `rows` and the next `later` frames."""
        length = max(self._window - later, 0)
        place = self._first[rows, None] + torch.arange(length)
        # windows that start at a frame or up to `length` - 1 frames before it
        begun, ended = (torch.searchsorted(self._sorted, at, right=True) for at in (place, place - length))
        return begun - ended


def _of_frames(pred: Tensor, target: Tensor, errors: Tensor) -> Tensor:
    """Return the scores `_OF_FRAMES` (B, T, 5 + 17) of poses (B, T, 17, 3) in mm with errors (B, T, 17)."""
    scores = (
        errors.mean(dim=-1),
        p_mpjpe(pred, target),
        n_mpjpe(pred, target),
        pck(pred, target, PCK_MM),
        auc(pred, target),
    )
    return torch.cat((torch.stack(scores, dim=-1), errors), dim=-1).double()


def _evaluation(rows: pd.DataFrame, by_window: Tensor, pck_curve: tuple[float, ...]) -> Evaluation:
    sums = pd.DataFrame(by_window.numpy(), columns=list(_SUMS))
    weights = {name: sums[weight_column(name)] for name in SCORE_COLUMNS}
    means = {name: sums[name] / weight.where(weight > 0, 1) for name, weight in weights.items()}  # 0 for single frames
    table = rows[list(WINDOW_COLUMNS)].assign(**sums[list(WEIGHT_COLUMNS)], **means)
    scores = {name: float(sums[name].sum() / max(weight.sum(), 1)) for name, weight in weights.items()}
    return Evaluation(scores, round(sums["weight"].sum()), table, pck_curve)


def score_robustness(
    methods: Mapping[str, Method], windows: Windows, count: int, batch_size: int, fabric: Fabric
) -> Robustness:
    """Return the MPJPE (mm) of each method on clean input and under each corruption and detector skeleton.

    `conditions()` defines the corruptions and skeletons. At most `count` of the `windows` are used, spread evenly.
    """
    some = evenly_drawn(windows, count)
    scores: dict[str, dict[str, float]] = {}
    for names, corrupted in conditions(some):
        done = {name: evaluate(method, corrupted, batch_size, fabric) for name, method in methods.items()}
        errors = {name: evaluation.scores["mpjpe_mm"] for name, evaluation in done.items()}
        scores |= dict.fromkeys(names, errors)
    return Robustness(windows=len(some), mpjpe_mm=scores)


def conditions(windows: WindowTensors) -> Iterator[tuple[list[str], WindowTensors]]:
    """Yield (names, windows) of each condition, clean first; detectors with equal derived joints share a condition."""
    yield ["clean"], windows
    for name, corruption in _CORRUPTIONS.items():
        generator = generator_at(windows.scale.device, _SEED, 0, 0)
        yield [name], replace(windows, pose_2d=corrupt(windows.pose_2d, corruption, generator)[0])
    alike: dict[bytes, list[Detector]] = {}
    for detector in Detector:
        if detector is not Detector.H36M17:
            alike.setdefault(SKELETONS[detector].derived.round(5).tobytes(), []).append(detector)
    for detectors in alike.values():
        derived = torch.from_numpy(SKELETONS[detectors[0]].derived).to(windows.scale.device)
        boxed, inputs = derived_joints(windows, derived[None])
        yield [detector.value for detector in detectors], replace(boxed, pose_2d=inputs)


def evenly_drawn(windows: Windows, count: int) -> WindowTensors:
    """Return at most `count` of the windows, spread evenly over the split, in memory."""
    count = min(count, len(windows))
    return some_of(windows, np.linspace(0, len(windows) - 1, count).round().astype(int).tolist())
