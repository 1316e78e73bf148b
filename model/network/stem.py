"""Stem: an MLP over all joints and frames of a window, before attention.

- The input is the window as frames or as the first cosines. The output is added to the tokens. Head `pose` also reads
  the features of the last residual block.
- The wide layers keep the fan-in initialisation of `nn.Linear`; a standard deviation of 0.02 would be too small.
"""

import torch
from torch import Tensor, nn

from data_contracts.parameters import DSTformerConfig
from data_contracts.skeleton import NUM_JOINTS


class Stem(nn.Module):
    """MLP from a window (B, T, 17, features_in) to addends of its tokens (B, P, 17, C), and features (B, width)."""

    basis: Tensor | None

    def __init__(self, config: DSTformerConfig) -> None:
        super().__init__()
        frames, width = config.max_tokens * config.patch, config.stem_width
        count = min(config.cosines or frames, frames)
        # scaled so that amplitudes are about as large as coordinates
        basis = cosines(frames, count) * (count / frames) ** 0.5 if config.cosines else None
        self.register_buffer("basis", basis, persistent=False)
        self.enter = nn.Linear(count * NUM_JOINTS * config.features_in, width)
        self.block = Residual(width)
        self.tokens = nn.Linear(width, config.max_tokens * NUM_JOINTS * config.embed_dim)
        self.per_token = (config.max_tokens, NUM_JOINTS, config.embed_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = x.flatten(2)  # (B, T, 17 * features_in)
        if self.basis is not None:
            seen = seen.transpose(1, 2) @ self.basis  # (B, 17 * features_in, count)
        features = self.block(self.enter(seen.flatten(1)))
        return self.tokens(features).unflatten(1, self.per_token), features

    def initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()


class Residual(nn.Module):
    """Compute x + Linear(GELU(Linear(LayerNorm(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def cosines(frames: int, count: int) -> Tensor:
    """Return the first `count` functions of the orthonormal DCT-II over a window: (frames, count), unit columns."""
    at = (torch.arange(frames, dtype=torch.float32) + 0.5) * (torch.pi / frames)
    basis = torch.cos(at[:, None] * torch.arange(count)) * (2 / frames) ** 0.5
    basis[:, 0] *= 0.5**0.5
    return basis
