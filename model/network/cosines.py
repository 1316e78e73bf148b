"""Represent a window by its first cosines: motion over half a second is smooth, and 8 of 27 cosines suffice.

A stem or head on cosines has a third of the weights and operations of one on frames.
"""

import torch
from torch import Tensor


def cosines(frames: int, count: int) -> Tensor:
    """Return the first `count` functions of the orthonormal DCT-II over a window: (frames, count), unit columns."""
    at = (torch.arange(frames, dtype=torch.float32) + 0.5) * (torch.pi / frames)
    basis = torch.cos(at[:, None] * torch.arange(count)) * (2 / frames) ** 0.5
    basis[:, 0] *= 0.5**0.5
    return basis
