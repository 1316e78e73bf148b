"""Residual MLP over all joints and frames of a window, used as a backbone or as the stem of a DSTformer.

- The simple baseline of Martinez et al. (ICCV 2017, section 3.2), extended to windows, with pre-LayerNorm blocks.
- The input is all frames of the window or, with `cosines`, the amplitudes of the first cosines over time.
- The wide layers keep the fan-in initialisation of `nn.Linear`; a standard deviation of 0.02 would be too small.
"""

import torch
from torch import Tensor, nn

from data_contracts.parameters import NetworkConfig
from data_contracts.skeleton import NUM_JOINTS
from model.network.backbone import Backbone


class WindowEncoder(nn.Module):
    """Linear and residual blocks: from a whole window (B, T, 17, features_in) to features (B, width)."""

    basis: Tensor | None

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        frames, width = config.padded_frames, config.stem_width
        count = min(config.cosines or frames, frames)
        # scaled so that amplitudes are about as large as coordinates
        basis = cosines(frames, count) * (count / frames) ** 0.5 if config.cosines else None
        self.register_buffer("basis", basis, persistent=False)
        self.enter = nn.Linear(count * NUM_JOINTS * config.features_in, width)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(config.stem_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        seen = x.flatten(2)  # (B, T, 17 * features_in)
        if self.basis is not None:
            seen = seen.transpose(1, 2) @ self.basis  # (B, 17 * features_in, count)
        features: Tensor = self.blocks(self.enter(seen.flatten(1)))
        return features

    def initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()


class WindowMLP(Backbone):
    """Backbone without tokens: (B, T, 17, features_in or more) to (B, 1, 1, width)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.encoder = WindowEncoder(config)

    def encode(self, x: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        features: Tensor = self.encoder(self._inputs(x, masked, self.config.padded_frames))
        return features[:, None, None], None

    def initialise(self) -> None:
        self.encoder.initialise()


class Stem(WindowEncoder):
    """Encoder of a DSTformer: its output is added to the tokens, and head `pose` reads its features."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Linear(config.stem_width, config.max_tokens * NUM_JOINTS * config.embed_dim)
        self.per_token = (config.max_tokens, NUM_JOINTS, config.embed_dim)

    def added(self, features: Tensor) -> Tensor:
        """Return the values (B, P, 17, C) to add to the tokens, for stem `features` (B, width)."""
        return self.tokens(features).unflatten(1, self.per_token)


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
