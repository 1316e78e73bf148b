"""State of a training run, and the checkpoints it keeps: the best epoch as the result, and the top-k epochs."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_contracts.store.folders import CHECKPOINT_FILE
from model.network.dstformer import DSTformer
from model.training.checkpoints import save_network


@dataclass
class Progress:
    """State of the training loop, stored as JSON in `last.safetensors`."""

    epoch: int = 0
    step: int = 0  # finished optimiser steps of this epoch
    loss_sum: float = 0.0  # over the windows of this epoch so far, without bad steps
    counted: int = 0  # number of these windows
    best: float = math.inf
    stale_epochs: int = 0
    bad_steps: int = 0
    micro_batch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    top: list[tuple[float, int]] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=dict)

    def enter(self, record: dict[str, float], keep_top: int) -> None:
        """Add an epoch to the history and, if it is among the `keep_top` best, to `top`."""
        self.history.append(record)
        score = record["val_mpjpe_mm"]
        self.stale_epochs = 0 if score < self.best else self.stale_epochs + 1
        self.best = min(self.best, score)
        self.top = sorted([*((best, at) for best, at in self.top), (score, int(record["epoch"]))])[:keep_top]


def keep(
    folder: Path, network: DSTformer, progress: Progress, checkpoint_every: int | None, learned_on: dict[str, float]
) -> None:
    """Save the weights of the last epoch if it is the best, among the best, or due by `checkpoint_every`.

    `learned_on`: `window` and `fps` of the training windows, which lifting needs. Top-k files of other epochs are
    deleted, also those of an earlier, killed run.
    """
    record = progress.history[-1] | learned_on
    epoch = int(record["epoch"])
    if progress.stale_epochs == 0:
        save_network(folder / CHECKPOINT_FILE, network, record)
    if checkpoint_every and epoch % checkpoint_every == 0:
        save_network(folder / f"epoch-{epoch:04d}.safetensors", network, record)
    if epoch in (at for _, at in progress.top):
        save_network(top_file(folder, epoch), network, record)
    kept = {top_file(folder, at) for _, at in progress.top}
    for file in set(folder.glob("top-epoch-*.safetensors")) - kept:
        file.unlink()


def top_file(folder: Path, epoch: int) -> Path:
    """Return the file for the weights of `epoch` while the epoch is among the best."""
    return folder / f"top-epoch-{epoch:04d}.safetensors"
