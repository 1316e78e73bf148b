"""Cache the features that a frozen backbone computes for every window, in memory or, if they do not fit, on disk."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from model.data.loading import Windows, free_bytes
from model.network.dstformer import DSTformer
from model.poses import mirror

_LOG = logging.getLogger(__name__)


class Features:
    """Features (V, N, P, 17, C) of N windows, and with V = 2 also of their mirror images; returned on `device`."""

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self._values, self._device = values, device

    def at(self, places: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Return the features (B, P, 17, C) of the windows at `places` (B,), mirrored where `mirrored` (B,) is true."""
        if mirrored is not None:
            places = places + self._values.shape[1] * mirrored.to(places)
        return self._values.flatten(0, 1).index_select(0, places.to(self._values.device)).to(self._device)

    def of(self, places: Tensor) -> "Features":
        """Return the features of the windows at `places` (B,), not mirrored, in that order."""
        return Features(self.at(places)[None], self._device)


@contextmanager
def cached_backbone_features(
    network: DSTformer,
    windows: Windows,
    mirrored: bool,
    fabric: Fabric,
    file: Path,
    memory_gb: float | None = None,
    batch_size: int = 256,
) -> Iterator[Features | None]:
    """Yield the features of all `windows`, and with `mirrored` of their mirror images; None if they fit nowhere.

    Features over `memory_gb` (default: half of the free memory of Fabric's device) are in `file` until the block ends.
    Each process has its own file; all processes together use at most half of the free space.
    """
    tokens = network.backbone.tokens(windows.window)
    shape = (2 if mirrored else 1, len(windows), tokens, 17, network.config.embed_dim)
    size = 4 * int(np.prod(shape))
    budget = free_bytes(fabric.device) / 2 if memory_gb is None else memory_gb * 1e9
    if size <= budget:
        values = torch.empty(shape, device=fabric.device)
        where = f"memory of {fabric.device}"
    elif size <= shutil.disk_usage(file.parent).free / (2 * fabric.world_size):
        values = torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))
        where = str(file)
    else:
        _LOG.info(
            "backbone features (%.1f GB) fit neither in memory nor on disk: the backbone runs in every step",
            size / 1e9,
        )
        yield None
        return
    try:
        _LOG.info("backbone features of %d windows: %.2f GB in %s", len(windows), size / 1e9, where)
        start = 0
        with torch.no_grad(), fabric.autocast():
            for batch in windows.batches(batch_size):
                for variant, of_all in enumerate(values):
                    pose_2d = batch.pose_2d if variant == 0 else mirror(batch.pose_2d)
                    of_all[start : start + len(batch)] = network.encode(pose_2d)
                start += len(batch)
        yield Features(values, fabric.device)
    finally:
        file.unlink(missing_ok=True)
