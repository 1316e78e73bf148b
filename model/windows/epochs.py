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
    """Steps of epochs. Windows `only_2d` join from epoch `epochs_3d` on, spread evenly among the others.

    They take at most as many steps as the others, other windows each epoch: they say nothing of depth, and where they
    are many and come before the others, as MotionBERT has them, what was known of it is lost (docs/recipes.md).
    """

    def __init__(self, windows: TrainingWindows, parameters: TrainingParameters) -> None:
        self.windows, self.seed, self.epochs_3d = windows, parameters.seed, parameters.epochs_3d
        self.flip = parameters.flip
        self.size = parameters.batch_size * parameters.accumulate
        self.total = self.steps_before(parameters.max_epochs)

    def steps_before(self, epoch: int) -> int:
        """Optimiser steps of all earlier epochs."""
        of_3d, of_2d = self._counts
        return epoch * of_3d + max(0, epoch - self.epochs_3d) * of_2d

    def steps(self, epoch: int, start_step: int, device: torch.device) -> Iterator[Step]:
        """Those of an epoch from `start_step` on, on `device`."""
        plan = self._plan(epoch)
        done = plan[:start_step]
        feeds = {False: self._feed(self.windows.train, epoch, done.count(False), device, False)}
        if self.windows.only_2d is not None:
            feeds[True] = self._feed(self.windows.only_2d, epoch, done.count(True), device, True)
        for only_2d in plan[start_step:]:
            yield next(feeds[only_2d])

    def _plan(self, epoch: int) -> list[bool]:
        """Of each step of an epoch, whether it is one of `only_2d`."""
        of_3d, of_2d = self._counts
        total = of_3d + (of_2d if epoch >= self.epochs_3d else 0)
        of_2d = total - of_3d
        return [(step + 1) * of_2d // total > step * of_2d // total for step in range(total)]

    def _feed(self, windows: Windows, epoch: int, skipped: int, device: torch.device, only_2d: bool) -> Iterator[Step]:
        """Steps of one source, without the first ones."""
        places = windows.order(self.seed, epoch).to(device).split(self.size)[skipped:]
        mirrored: Sequence[Tensor | None] = [None] * len(places)
        if self.flip:
            mirrored = mirrored_of(len(windows), self.seed, epoch).to(device).split(self.size)[skipped:]
        batches = windows.steps(self.seed, epoch, self.size, skipped, self.flip)
        for batch, of_batch, flipped in zip(batches, places, mirrored, strict=True):
            yield Step(batch, of_batch, flipped, only_2d)

    @property
    def _counts(self) -> tuple[int, int]:
        """Steps of an epoch: of the windows with 3D, and of `only_2d` once these have joined."""
        of_3d = self._steps(self.windows.train)
        return of_3d, min(of_3d, self._steps(self.windows.only_2d))

    def _steps(self, windows: Windows | None) -> int:
        return 0 if windows is None else math.ceil(len(windows) / self.size)
