"""Order of the training windows over steps and epochs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_contracts.parameters import TrainingParameters
from model.data.batches import Batch
from model.data.loading import Windows
from model.data.seeding import SAMPLED, generator_at
from model.data.streaming import mirrored_of, order_of

SAMPLE = 512


@dataclass
class TrainingWindows:
    """Windows of the training and validation split, opened for the device that trains."""

    train: Windows
    val: Windows

    def sampled(self) -> Tensor:
        """Return places (n,) of `train` windows that are scored in addition to `val`, evenly spread over the rows.

        Their number is at most `SAMPLE`, the size of `val`, and a twentieth of an epoch, so that they are cheap.
        """
        count = max(1, min(SAMPLE, len(self.val), len(self.train) // 20))
        within = torch.rand(count, generator=generator_at("cpu", 0, 0, SAMPLED), dtype=torch.float64)
        return ((torch.arange(count) + within) * (len(self.train) / count)).long()


@dataclass
class Step:
    """Windows of an optimiser step, their places (B,) in `rows`, and which of them (B,) are mirrored."""

    windows: Batch
    places: Tensor
    mirrored: Tensor | None


class Epochs:
    """Steps of epochs: each epoch has every window of the training split once, in an order of its own."""

    def __init__(self, windows: TrainingWindows, parameters: TrainingParameters) -> None:
        self.train, self.seed, self.flip = windows.train, parameters.seed, parameters.flip
        self.size = parameters.batch_size * parameters.accumulate
        self.total = self.steps_before(parameters.max_epochs)

    def steps_before(self, epoch: int) -> int:
        """Return the number of optimiser steps in all earlier epochs."""
        return epoch * math.ceil(len(self.train) / self.size)

    def steps(self, epoch: int, start_step: int, device: torch.device) -> Iterator[Step]:
        """Yield the steps of an epoch from `start_step` on, on `device`."""
        order = order_of(self.train.row_groups, self.train.window, self.seed, epoch)
        places = order.to(device).split(self.size)[start_step:]
        mirrored: Sequence[Tensor | None] = [None] * len(places)
        if self.flip:
            mirrored = mirrored_of(len(self.train), self.seed, epoch).to(device).split(self.size)[start_step:]
        batches = self.train.steps(self.seed, epoch, self.size, start_step, self.flip)
        for batch, of_batch, flipped in zip(batches, places, mirrored, strict=True):
            yield Step(batch, of_batch, flipped)
