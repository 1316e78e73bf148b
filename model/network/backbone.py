"""Common base of the backbones of `PoseNetwork`: geometry, the mask token and padding."""

import torch
from torch import Tensor, nn

from data_contracts.parameters import NetworkConfig
from model.network.foreshortening import Foreshortening

LAYER_NORM_EPS = 1e-6


class Backbone(nn.Module):
    """Layers before the last LayerNorm: (B, T, 17, features_in or more) to features (B, *config.feature_shape)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.mask_token = nn.Parameter(torch.zeros(config.features_in)) if config.mask_token else None
        self.geometry = None if config.geometry == "none" else Foreshortening()
        self.stem: nn.Module | None = None

    def forward(self, x: Tensor, masked: Tensor | None = None) -> Tensor:
        return self.encode(x, masked)[0]

    def encode(self, x: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the features, and those of the stem (B, width) or None; joints `masked` (B, T, 17) are replaced."""
        raise NotImplementedError

    def initialise(self) -> None:
        """Replace the default initialisation of `PoseNetwork` where a layer needs a different one."""
        raise NotImplementedError

    @property
    def whole_windows(self) -> bool:
        """Whether shorter windows are padded to `config.max_frames`."""
        return True

    def features_of(self, frames: int) -> tuple[int, ...]:  # noqa: ARG002 - some backbones depend on it
        """Return the shape of the features of one window of `frames` frames."""
        return self.config.feature_shape

    def _inputs(self, x: Tensor, masked: Tensor | None, frames: int) -> Tensor:
        """Return (B, frames, 17, features_in): masked joints replaced, padded with the last frame at confidence 0."""
        x = x[..., : self.config.features_in]
        if self.mask_token is not None and masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        missing = frames - x.shape[1]
        if not missing:
            return x
        last = x[:, -1:].expand(-1, missing, -1, -1)
        return torch.cat((x, torch.cat((last[..., :2], last[..., 2:3] * 0, last[..., 3:]), dim=-1)), dim=1)
