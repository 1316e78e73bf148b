"""Evaluation of a lifter on one split: scores over all its frames, and errors per window for paired comparisons."""

from dataclasses import dataclass

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor

from data_contracts.report import MethodScores
from data_contracts.skeleton import JOINTS
from model.baselines import Lifter
from model.dstformer import DSTformer
from model.lifting import lift
from model.metrics import PCK_MM, joint_errors, n_mpjpe, p_mpjpe
from model.windows import Windows


@dataclass
class Evaluation:
    """`scores` over the split; `errors`: one row per window with `mpjpe_mm` and `p_mpjpe_mm`, means over its frames."""

    scores: MethodScores
    errors: pd.DataFrame


def network_lifter(network: DSTformer, fabric: Fabric) -> Lifter:
    """The network as a lifter of CPU tensors, computed on Fabric's device in its precision."""
    module = fabric.setup(network.eval())

    @torch.inference_mode()
    def predict(pose_2d: Tensor) -> Tensor:
        return lift(module, pose_2d.to(fabric.device)).cpu()

    return predict


def evaluate(predict: Lifter, windows: Windows, batch_size: int) -> Evaluation:
    """Scores of `predict` on every frame of `windows` that is not padding, each frame counting once per window."""
    per_window: list[Tensor] = []  # (B, 3): sums over frames of MPJPE, P-MPJPE, N-MPJPE
    per_joint: list[Tensor] = []  # (B, 17): sums over frames
    within = torch.zeros((), dtype=torch.float64)
    per_window_frames: list[Tensor] = []  # (B,)
    for batch in windows.batches(batch_size):
        millimetres = (1000 / batch.scale).view(-1, 1, 1, 1)
        pred, target = predict(batch.pose_2d) * millimetres, batch.pose_3d * millimetres
        weight = batch.frame_weight  # (B, T)
        errors = joint_errors(pred, target) * weight[..., None]  # (B, T, 17)
        poses = torch.stack((errors.mean(dim=-1), p_mpjpe(pred, target), n_mpjpe(pred, target)), dim=-1)
        per_window.append((poses * weight[..., None]).sum(dim=1))
        per_joint.append(errors.sum(dim=1))
        per_window_frames.append(weight.sum(dim=1))
        within += ((errors <= PCK_MM).double().mean(dim=-1) * weight).sum()
    sums, joints, frames = torch.cat(per_window), torch.cat(per_joint), torch.cat(per_window_frames)
    errors_table = windows.rows[["window_id", "clip_id", "group", "action"]].assign(
        frames=frames.numpy(),
        mpjpe_mm=(sums[:, 0] / frames).numpy(),
        p_mpjpe_mm=(sums[:, 1] / frames).numpy(),
    )
    total = frames.sum()
    by_action = errors_table.assign(weighted=sums[:, 0].numpy()).groupby("action")[["weighted", "frames"]].sum()
    scores = MethodScores(
        mpjpe_mm=float(sums[:, 0].sum() / total),
        p_mpjpe_mm=float(sums[:, 1].sum() / total),
        n_mpjpe_mm=float(sums[:, 2].sum() / total),
        pck_150=float(within / total),
        per_joint_mm=dict(zip(JOINTS, (joints.sum(dim=0) / total).tolist(), strict=True)),
        per_action_mm=(by_action["weighted"] / by_action["frames"]).to_dict(),
    )
    return Evaluation(scores, errors_table)
