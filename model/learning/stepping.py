"""What one optimiser step learns from: windows made new and corrupted, the network's answer, the loss, its gradients.

Random numbers are drawn and totals taken over a whole step before it is cut into micro-batches and over devices; so
neither changes the result, but for the order in which numbers are added.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from data_contracts.parameters import Objective, TrainingParameters
from data_contracts.report import PCK_MM
from model.learning.features import Features
from model.learning.losses import ErrorWeights, pose_loss
from model.learning.muon import Muon, blocks_of
from model.network.dstformer import DSTformer
from model.network.lifting import root_relative
from model.scoring.metrics import joint_errors
from model.windows.augmentation import augment
from model.windows.batches import Batch
from model.windows.corruption import corrupt
from model.windows.detectors import draw_detectors
from model.windows.loading import Windows
from model.windows.seeding import generator_at

WARMUP_SHARE = 0.03  # of a cosine schedule
VALIDATION_SEED = 2**31 - 1


@dataclass
class TrainingBatch:
    """Windows as the network meets them.

    clean: what it should give back; given (B, T, 17, 3): what it sees; masked (B, T, 17): where that was replaced;
    features (B, P, 17, C): what a frozen backbone makes of it; error_weights, totals: what counts, here and in the
    whole step.
    """

    clean: Batch
    given: Tensor
    masked: Tensor | None
    features: Tensor | None
    error_weights: ErrorWeights
    totals: tuple[Tensor, Tensor]

    def __getitem__(self, windows: slice) -> "TrainingBatch":
        return replace(
            self,
            clean=self.clean[windows],
            given=self.given[windows],
            masked=None if self.masked is None else self.masked[windows],
            features=None if self.features is None else self.features[windows],
            error_weights=self.error_weights[windows],
        )


class Learner:
    """A network that Fabric has set up, and the objective that it is trained for."""

    def __init__(self, module: nn.Module, parameters: TrainingParameters, objective: Objective, fabric: Fabric) -> None:
        self.module, self.parameters, self.objective, self.fabric = module, parameters, objective, fabric

    def made_new(self, windows: Batch, generator: torch.Generator, features: Tensor | None = None) -> TrainingBatch:
        """Return all windows of a training step, augmented and corrupted."""
        if self.parameters.augmentation.wanted:
            windows = augment(windows, self.parameters.augmentation, generator)
        return self.corrupted(windows, generator, features)

    def corrupted(self, windows: Batch, generator: torch.Generator, features: Tensor | None = None) -> TrainingBatch:
        """Return all windows of a step, corrupted; `features` are those of uncorrupted windows."""
        windows, given = draw_detectors(windows, self.parameters.corruption, generator)
        given, masked = corrupt(given, self.parameters.corruption, generator)
        error_weights = ErrorWeights.of(windows.frame_weight, masked if self.parameters.loss_on == "masked" else None)
        shown = masked if self.parameters.corruption.fill == "token" else None
        return TrainingBatch(windows, given, shown, features, error_weights, error_weights.totals)

    def gradients(self, batch: TrainingBatch, micro_batch: int) -> Tensor:
        """Adds this device's part of the step's gradients, `micro_batch` windows at a time; returns the step's loss."""
        fabric, count, losses = self.fabric, len(batch.clean), []
        start, stop = (count * rank // fabric.world_size for rank in (fabric.global_rank, fabric.global_rank + 1))
        if start == stop:  # fewer windows than devices: this one only takes part in what they exchange
            batch = replace(batch, error_weights=batch.error_weights.of_nothing())
            start, stop = 0, 1
        for first in range(start, stop, micro_batch):
            last = min(first + micro_batch, stop)
            with fabric.no_backward_sync(self.module, enabled=last < stop):  # type: ignore[arg-type]
                loss = self._loss(batch[first:last])
                fabric.backward(loss * fabric.world_size)  # devices exchange the mean of their gradients
            losses.append(loss.detach())
        return _sum_over_devices(torch.stack(losses).sum(), fabric)

    @torch.no_grad()
    def validate(
        self, windows: Windows | Batch, on_batch: Callable[[], None] = lambda: None, features: Features | None = None
    ) -> tuple[float, float]:
        """MPJPE (mm) and PCK@150mm on windows corrupted as in training, the same way every time; padding left out.

        With `reconstruct` the errors are those of the 2D pose, in mm at the root's depth. `on_batch` is called after
        each batch.
        """
        self.module.eval()
        fabric, size = self.fabric, 2 * self.parameters.batch_size
        sums = torch.zeros(3, device=fabric.device, dtype=torch.float64)  # errors, joints within, frames
        for number, batch in enumerate(windows.batches(size)):
            if number % fabric.world_size != fabric.global_rank:
                continue
            generator = generator_at(fabric.device, self.parameters.seed, VALIDATION_SEED, number * size)
            places = torch.arange(number * size, number * size + len(batch), device=fabric.device)
            shown = self.corrupted(batch, generator, features.at(places) if features else None)
            pred, target = self._answer(shown)
            errors_mm = joint_errors(pred, target) * (1000 / shown.clean.scale.view(-1, 1, 1))  # (B, T, 17)
            within = (errors_mm <= PCK_MM).float()
            of_frames = torch.stack((errors_mm.mean(dim=-1), within.mean(dim=-1), torch.ones_like(batch.frame_weight)))
            sums += (of_frames * batch.frame_weight).sum(dim=(1, 2))
            on_batch()
        error_mm, correct, frames = _sum_over_devices(sums, fabric).tolist()
        return error_mm / frames, correct / frames

    def _answer(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Prediction and target."""
        pred = self.module(batch.given, batch.masked, batch.features).float()
        if self.objective is Objective.RECONSTRUCT:
            return pred, batch.clean.pose_2d[..., :2]
        return root_relative(pred), batch.clean.pose_3d

    def _loss(self, batch: TrainingBatch) -> Tensor:
        pred, target = self._answer(batch)
        parameters = self.parameters
        return pose_loss(pred, target, batch.error_weights, parameters.loss, parameters.focal_gamma, batch.totals)


def make_optimiser(network: DSTformer, parameters: TrainingParameters, scaled: bool) -> Optimizer:
    """The optimiser of what learns; `scaled`: a gradient scaler unscales and looks for infinities before it."""
    groups = parameter_groups(network, parameters)
    if parameters.optimiser == "muon":
        return Muon(groups, parameters.betas, parameters.eps, parameters.weight_decay)
    return AdamW(
        groups,
        betas=parameters.betas,
        eps=parameters.eps,
        weight_decay=parameters.weight_decay,
        fused=not scaled,  # Fabric does not clip what a fused optimiser would unscale itself
    )


def parameter_groups(network: DSTformer, parameters: TrainingParameters) -> list[dict[str, Any]]:
    """What learns, and how fast: the last LayerNorm has a rate of its own; Muon's matrices know their blocks."""
    rate = parameters.learning_rate
    norm_rate = parameters.norm_learning_rate or rate
    blocks = hidden_matrices(network) if parameters.optimiser == "muon" else {}
    rest = [p for p in (*network.backbone.parameters(), *network.head.parameters()) if p not in blocks]
    groups: list[tuple[Iterable[nn.Parameter], float, dict[str, int]]]
    groups = [(rest, rate, {}), (network.norm.parameters(), norm_rate, {})]
    for count in sorted(set(blocks.values())):
        groups.append(([p for p in blocks if blocks[p] == count], rate, {"blocks": count}))
    return [
        {"params": [p for p in group if p.requires_grad], "lr": lr, "base_lr": lr, **kind} for group, lr, kind in groups
    ]


def hidden_matrices(network: DSTformer) -> dict[nn.Parameter, int]:
    """Matrices between hidden features, and into how many blocks of rows Muon takes each.

    Not among them: embeddings, the layers that see coordinates or give them, and fusions, whose two rows are logits.
    """
    found: dict[nn.Parameter, int] = {}
    for name, module in network.backbone.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith(("joints_embed", "fusions", "stem.enter")):
            rows, columns = module.weight.shape
            parts = 3 if name.endswith("qkv") else rows // network.config.embed_dim if name == "stem.tokens" else 1
            weight: nn.Parameter = module.weight  # type: ignore[assignment]
            found[weight] = parts * blocks_of(rows // parts, columns)
    return found


def set_learning_rate(optimiser: Optimizer, parameters: TrainingParameters, done_share: float, epoch: int) -> float:
    """Set every group's rate for the step after `done_share` of all steps; returns the first group's."""
    if parameters.schedule == "cosine":
        warmup = min(1.0, (done_share + 1e-3) / WARMUP_SHARE)
        factor = warmup * 0.5 * (1 + math.cos(math.pi * done_share))
    else:
        factor = parameters.decay**epoch if parameters.schedule == "exponential" else 1.0
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimiser.param_groups[0]["lr"]


def _sum_over_devices(value: Tensor, fabric: Fabric) -> Tensor:
    if fabric.world_size == 1:
        return value
    summed = fabric.all_reduce(value, reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed
