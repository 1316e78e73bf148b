"""Dropout that is drawn outside the network, once for a whole training step: what is dropped is an input.

So the size of a micro-batch, the number of devices, and what was killed and taken up again change nothing. A hidden
feature is dropped from a window, in all of its joints and frames (as Tompson et al., CVPR 2015, drop whole maps):
tokens of a window are so alike that one would tell another what it lacks, and numbers for each of them would be as
many as the network's widest features.
"""

import torch
from torch import Tensor, nn


class Dropping(nn.Module):
    """A part with `hidden` features that may be dropped; `kept_at`: where they stand among those of the network."""

    hidden: int
    kept_at = slice(0, 0)

    def dropped(self, features: Tensor, kept: Tensor | None) -> Tensor:
        """`features` (N * L, ..., hidden) of N windows times `kept` (N, all), which is 0 where one is dropped."""
        if kept is None:
            return features
        factors = kept[:, self.kept_at].to(features.dtype)
        return (features.view(len(kept), -1, self.hidden) * factors[:, None]).view_as(features)


def number_hidden(network: nn.Module) -> int:
    """Tell each part of `network` where its features stand; returns how many there are."""
    count = 0
    for part in network.modules():
        if isinstance(part, Dropping):
            part.kept_at = slice(count, count + part.hidden)
            count += part.hidden
    return count


def draw_kept(windows: int, features: int, share: float, generator: torch.Generator) -> Tensor:
    """(windows, features): 0 for a `share` of them, and what makes up for these for the others."""
    drawn = torch.rand(windows, features, generator=generator, device=generator.device)
    return (drawn >= share).float() / (1 - share)
