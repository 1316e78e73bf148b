"""Which windows training meets when."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_contracts.parameters import TrainingParameters
from model.windows.batches import Batch
from model.windows.loading import Windows
from model.windows.seeding import SAMPLED, generator_at
from model.windows.streaming import mirrored_of

SAMPLE = 512


@dataclass
class TrainingWindows:
    """What training reads, opened for its device; `only_2d`: windows whose 3D is not known, or not to be used."""

    train: Windows
    val: Windows
    only_2d: Windows | None = None

    def sampled(self) -> Tensor:
        """Places (n,) of those of `train` that training is scored on beside `val`: one from each n-th of the rows.

        At most `SAMPLE`, as many as `val` has, and a twentieth of an epoch, so that they cost next to nothing.
        """
        count = max(1, min(SAMPLE, len(self.val), len(self.train) // 20))
        within = torch.rand(count, generator=generator_at("cpu", 0, 0, SAMPLED), dtype=torch.float64)
        return ((torch.arange(count) + within) * (len(self.train) / count)).long()


@dataclass
class Step:
    """Windows of an optimiser step, their places (B,) in `rows`, which (B,) are mirrored, and whether `only_2d`."""

    windows: Batch
    places: Tensor
    mirrored: Tensor | None
    only_2d: bool


class Epochs:
    """Steps of epochs: windows `only_2d` from epoch `epochs_3d` on, before the others, as in MotionBERT."""

    def __init__(self, windows: TrainingWindows, parameters: TrainingParameters) -> None:
        self.windows, self.seed, self.epochs_3d = windows, parameters.seed, parameters.epochs_3d
        self.flip = parameters.flip
        self.size = parameters.batch_size * parameters.accumulate
        self.total = self.steps_before(parameters.max_epochs)

    def steps_before(self, epoch: int) -> int:
        """Optimiser steps of all earlier epochs."""
        joined = max(0, epoch - self.epochs_3d)
        return epoch * self._steps(self.windows.train) + joined * self._steps(self.windows.only_2d)

    def steps(self, epoch: int, start_step: int, device: torch.device) -> Iterator[Step]:
        """Those of an epoch from `start_step` on, on `device`."""
        for windows, only_2d in self._sources(epoch):
            skipped = min(start_step, self._steps(windows))
            start_step -= skipped
            places = windows.order(self.seed, epoch).to(device).split(self.size)[skipped:]
            mirrored: Sequence[Tensor | None] = [None] * len(places)
            if self.flip:
                mirrored = mirrored_of(len(windows), self.seed, epoch).to(device).split(self.size)[skipped:]
            batches = windows.steps(self.seed, epoch, self.size, skipped, self.flip)
            for batch, of_batch, flipped in zip(batches, places, mirrored, strict=True):
                yield Step(batch, of_batch, flipped, only_2d)

    def _sources(self, epoch: int) -> list[tuple[Windows, bool]]:
        train = [(self.windows.train, False)]
        only_2d = self.windows.only_2d
        return train if only_2d is None or epoch < self.epochs_3d else [(only_2d, True), *train]

    def _steps(self, windows: Windows | None) -> int:
        return 0 if windows is None else math.ceil(len(windows) / self.size)
