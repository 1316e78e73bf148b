"""Cache the features of a frozen backbone for every window, in the memory of the device."""

import logging
import math

import torch
from lightning_fabric import Fabric
from torch import Tensor

from model.data.loading import Windows, free_bytes
from model.network.network import PoseNetwork
from model.poses import mirror

BATCH_SIZE = 256
_LOG = logging.getLogger(__name__)


class Features:
    """Features (V, N, P, 17, C) of N windows, and with V = 2 also of their mirror images."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def at(self, places: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Return features (B, P, 17, C) of windows at positions `places` (B,), of mirror images where `mirrored`."""
        if mirrored is not None:
            places = places + self._values.shape[1] * mirrored.to(places)
        return self._values.flatten(0, 1).index_select(0, places.to(self._values.device))

    def of(self, places: Tensor) -> "Features":
        """Return the features of the windows at positions `places` (B,), in that order, not mirrored."""
        return Features(self.at(places)[None])


def cached_backbone_features(
    network: PoseNetwork, windows: Windows, mirrored: bool, fabric: Fabric, memory_gb: float | None
) -> Features | None:
    """Return the features of all `windows`, and with `mirrored` of their mirror images, on Fabric's device.

    If the features do not fit into `memory_gb` (default: half of the free memory), return None.
    """
    shape = (2 if mirrored else 1, len(windows), *network.backbone.features_of(windows.window))
    size_gb = 4e-9 * math.prod(shape)
    if size_gb > (free_bytes(fabric.device) / 2e9 if memory_gb is None else memory_gb):
        _LOG.info("backbone features (%.1f GB) do not fit into memory: the backbone runs in every step", size_gb)
        return None
    _LOG.info("backbone features of %d windows: %.2f GB in memory of %s", len(windows), size_gb, fabric.device)
    values = torch.empty(shape, device=fabric.device)
    start = 0
    with torch.no_grad(), fabric.autocast():
        for batch in windows.batches(BATCH_SIZE):
            for variant, of_all in enumerate(values):
                pose_2d = batch.pose_2d if variant == 0 else mirror(batch.pose_2d)
                of_all[start : start + len(batch)] = network.encode(pose_2d)
            start += len(batch)
    return Features(values)
