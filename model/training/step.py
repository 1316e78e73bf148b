"""One optimiser step: augment and corrupt windows, run the network, compute the loss and its gradients.

Random numbers are drawn, and totals computed, for a whole step before it is split into micro-batches and over devices.
So the split changes the result only by the order of additions.
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
from model.data.augmentation import augment
from model.data.batches import Batch
from model.data.corruption import corrupt
from model.data.detectors import draw_detectors
from model.data.loading import Windows
from model.data.seeding import generator_at
from model.network.dstformer import DSTformer
from model.poses import root_relative
from model.scoring.metrics import joint_errors
from model.training.features import Features
from model.training.losses import ErrorWeights, pose_loss
from model.training.muon import Muon, blocks_of

WARMUP_SHARE = 0.03  # of a cosine schedule
VALIDATION_SEED = 2**31 - 1


@dataclass
class TrainingBatch:
    """Windows of a step with their network inputs.

    clean: targets; inputs (B, T, 17, 3): corrupted 2D; masked (B, T, 17): replaced joints; features (B, P, 17, C):
    cached output of a frozen backbone; error_weights: weights of the errors; totals: their sums over the whole step.
    """

    clean: Batch
    inputs: Tensor
    masked: Tensor | None
    features: Tensor | None
    error_weights: ErrorWeights
    totals: tuple[Tensor, Tensor]

    def __getitem__(self, windows: slice) -> "TrainingBatch":
        return replace(
            self,
            clean=self.clean[windows],
            inputs=self.inputs[windows],
            masked=None if self.masked is None else self.masked[windows],
            features=None if self.features is None else self.features[windows],
            error_weights=self.error_weights[windows],
        )


class Learner:
    """A network that Fabric has set up, and the objective that it is trained for."""

    def __init__(self, module: nn.Module, parameters: TrainingParameters, objective: Objective, fabric: Fabric) -> None:
        self.module, self.parameters, self.objective, self.fabric = module, parameters, objective, fabric

    def augmented(self, windows: Batch, generator: torch.Generator, features: Tensor | None = None) -> TrainingBatch:
        """Return all windows of a training step, augmented and corrupted."""
        if self.parameters.augmentation.wanted:
            windows = augment(windows, self.parameters.augmentation, generator)
        return self.corrupted(windows, generator, features)

    def corrupted(self, windows: Batch, generator: torch.Generator, features: Tensor | None = None) -> TrainingBatch:
        """Return all windows of a step, corrupted; `features` are those of uncorrupted windows."""
        windows, inputs = draw_detectors(windows, self.parameters.corruption, generator)
        inputs, masked = corrupt(inputs, self.parameters.corruption, generator)
        error_weights = ErrorWeights.of(windows.frame_weight, masked if self.parameters.loss_on == "masked" else None)
        tokens = masked if self.parameters.corruption.fill == "token" else None
        return TrainingBatch(windows, inputs, tokens, features, error_weights, error_weights.totals)

    def gradients(self, batch: TrainingBatch, micro_batch: int) -> Tensor:
        """Add this device's part of the step's gradients, `micro_batch` windows at a time; return the step's loss."""
        fabric, count, losses = self.fabric, len(batch.clean), []
        start, stop = (count * rank // fabric.world_size for rank in (fabric.global_rank, fabric.global_rank + 1))
        if start == stop:  # fewer windows than devices: this device only takes part in the exchange
            batch = replace(batch, error_weights=batch.error_weights.of_nothing())
            start, stop = 0, 1
        for first in range(start, stop, micro_batch):
            last = min(first + micro_batch, stop)
            with fabric.no_backward_sync(self.module, enabled=last < stop):  # type: ignore[arg-type]
                loss = self._loss(batch[first:last])
                fabric.backward(loss * fabric.world_size)  # devices average their gradients
            losses.append(loss.detach())
        return _sum_over_devices(torch.stack(losses).sum(), fabric)

    @torch.no_grad()
    def validate(
        self, windows: Windows | Batch, on_batch: Callable[[], None] = lambda: None, features: Features | None = None
    ) -> tuple[float, float]:
        """Return MPJPE (mm) and PCK@150mm on windows corrupted as in training, with fixed seeds, without padding.

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
            corrupted = self.corrupted(batch, generator, features.at(places) if features else None)
            pred, target = self._answer(corrupted)
            errors_mm = joint_errors(pred, target) * (1000 / corrupted.clean.scale.view(-1, 1, 1))  # (B, T, 17)
            within = (errors_mm <= PCK_MM).float()
            of_frames = torch.stack((errors_mm.mean(dim=-1), within.mean(dim=-1), torch.ones_like(batch.frame_weight)))
            sums += (of_frames * batch.frame_weight).sum(dim=(1, 2))
            on_batch()
        error_mm, correct, frames = _sum_over_devices(sums, fabric).tolist()
        return error_mm / frames, correct / frames

    def _answer(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return prediction and target."""
        pred = self.module(batch.inputs, batch.masked, batch.features).float()
        if self.objective is Objective.RECONSTRUCT:
            return pred, batch.clean.pose_2d[..., :2]
        return root_relative(pred), batch.clean.pose_3d

    def _loss(self, batch: TrainingBatch) -> Tensor:
        pred, target = self._answer(batch)
        parameters = self.parameters
        return pose_loss(pred, target, batch.error_weights, parameters.loss, parameters.focal_gamma, batch.totals)


def make_optimiser(network: DSTformer, parameters: TrainingParameters, scaled: bool) -> Optimizer:
    """Return the optimiser of all trainable weights; `scaled`: a gradient scaler unscales the gradients before it."""
    groups = parameter_groups(network, parameters)
    if parameters.optimiser == "muon":
        return Muon(groups, parameters.betas, parameters.eps, parameters.weight_decay)
    return AdamW(
        groups,
        betas=parameters.betas,
        eps=parameters.eps,
        weight_decay=parameters.weight_decay,
        fused=not scaled,  # Fabric does not clip gradients that a fused optimiser would unscale itself
    )


def parameter_groups(network: DSTformer, parameters: TrainingParameters) -> list[dict[str, Any]]:
    """Return parameter groups: the last LayerNorm has its own learning rate, and Muon's matrices their blocks."""
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
    """Return the matrices between hidden features, and the number of row blocks that Muon uses for each.

    Excluded are embeddings, the layers that read or write coordinates, and fusions, whose two rows are logits.
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
    """Set the rate of every group for the step after `done_share` of all steps; return the rate of the first group."""
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
