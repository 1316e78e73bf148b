"""A window in its first cosines: motion over half a second is smooth, and 8 of 27 say nearly all of it.

A stem or a head that works in them has a third of the weights and products of one that works frame by frame.
"""

import torch
from torch import Tensor


def cosines(frames: int, count: int) -> Tensor:
    """The first `count` functions of the orthonormal DCT-II over a window: (frames, count), columns of length 1."""
    at = (torch.arange(frames, dtype=torch.float32) + 0.5) * (torch.pi / frames)
    basis = torch.cos(at[:, None] * torch.arange(count)) * (2 / frames) ** 0.5
    basis[:, 0] *= 0.5**0.5
    return basis
