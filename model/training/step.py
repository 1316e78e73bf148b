"""One optimiser step: augment and corrupt windows, run the network, compute the loss and its gradients.

Random numbers and totals are computed for a whole step before the step is split into micro-batches and over devices.
The split therefore changes the result only by rounding (order of additions).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from data_contracts.parameters import Objective, TrainingParameters
from data_contracts.report import PCK_MM
from model.data.augmentation import augment
from model.data.batches import Batch
from model.data.corruption import corrupt, draw_detectors
from model.data.loading import Windows
from model.data.seeding import generator_at
from model.poses import root_relative
from model.scoring.metrics import joint_errors
from model.training.devices import sum_over_devices
from model.training.features import Features
from model.training.losses import ErrorWeights, pose_loss

VALIDATION_SEED = 2**31 - 1


@dataclass
class TrainingBatch:
    """Windows of an optimiser step with their network inputs.

    clean: target poses; inputs (B, T, 17, 3): corrupted 2D; masked (B, T, 17) bool: joints to replace by the token;
    features (B, P, 17, C): cached output of a frozen backbone; error_weights: weights in the loss.
    """

    clean: Batch
    inputs: Tensor
    masked: Tensor | None
    features: Tensor | None
    error_weights: ErrorWeights

    def __getitem__(self, windows: slice) -> "TrainingBatch":
        return TrainingBatch(
            self.clean[windows],
            self.inputs[windows],
            None if self.masked is None else self.masked[windows],
            None if self.features is None else self.features[windows],
            self.error_weights[windows],
        )


class Learner:
    """A network that Fabric has set up, and the objective that it is trained for."""

    def __init__(self, module: nn.Module, parameters: TrainingParameters, objective: Objective, fabric: Fabric) -> None:
        self.module, self.parameters, self.objective, self.fabric = module, parameters, objective, fabric

    def augmented(self, windows: Batch, generator: torch.Generator, features: Tensor | None = None) -> TrainingBatch:
        """Return all windows of a training step, augmented and corrupted; for `features` see `corrupted`."""
        if self.parameters.augmentation.wanted:
            windows = augment(windows, self.parameters.augmentation, generator)
        return self.corrupted(windows, generator, features)

    def corrupted(self, windows: Batch, generator: torch.Generator, features: Tensor | None = None) -> TrainingBatch:
        """Return all windows of a step, corrupted; `features` are cached features of the same windows."""
        windows, inputs = draw_detectors(windows, self.parameters.corruption, generator)
        inputs, masked = corrupt(inputs, self.parameters.corruption, generator)
        error_weights = ErrorWeights.of(windows.frame_weight, masked if self.parameters.loss_on == "masked" else None)
        tokens = masked if self.parameters.corruption.fill == "token" else None
        return TrainingBatch(windows, inputs, tokens, features, error_weights)

    def gradients(self, batch: TrainingBatch, micro_batch: int) -> Tensor:
        """Add this device's part of the step's gradients, `micro_batch` windows at a time; return the step's loss."""
        fabric, count, losses = self.fabric, len(batch.clean), []
        start, stop = (count * rank // fabric.world_size for rank in (fabric.global_rank, fabric.global_rank + 1))
        if start == stop:  # fewer windows than devices: this device only takes part in the exchange
            weights = batch.error_weights
            nothing = replace(weights, joints=torch.zeros_like(weights.joints), steps=torch.zeros_like(weights.steps))
            batch, start, stop = replace(batch, error_weights=nothing), 0, 1
        for first in range(start, stop, micro_batch):
            last = min(first + micro_batch, stop)
            with fabric.no_backward_sync(self.module, enabled=last < stop):  # type: ignore[arg-type]
                loss = self._loss(batch[first:last])
                fabric.backward(loss * fabric.world_size)  # devices average their gradients
            losses.append(loss.detach())
        return sum_over_devices(torch.stack(losses).sum(), fabric)

    @torch.no_grad()
    def validate(
        self, windows: Windows | Batch, on_batch: Callable[[], None] = lambda: None, features: Features | None = None
    ) -> tuple[float, float]:
        """Return MPJPE (mm) and PCK@150mm over frames without padding, corrupted as in training with fixed seeds.

        With objective `reconstruct` these are errors of the 2D pose, in mm at the depth of the root.
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
        error_mm, correct, frames = sum_over_devices(sums, fabric).tolist()
        return error_mm / frames, correct / frames

    def _answer(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        pred = self.module(batch.inputs, batch.masked, batch.features).float()
        if self.objective is Objective.RECONSTRUCT:
            return pred, batch.clean.pose_2d[..., :2]
        return root_relative(pred), batch.clean.pose_3d

    def _loss(self, batch: TrainingBatch) -> Tensor:
        pred, target = self._answer(batch)
        return pose_loss(pred, target, batch.error_weights, self.parameters.loss, self.parameters.focal_gamma)
