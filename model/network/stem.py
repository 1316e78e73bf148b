"""Stem: an MLP over the whole window, by which joints and frames see each other before attention has learned to look.

Notable decisions:
- it sees every number of the window at once, frame by frame or as the first cosines, and adds to every token;
- one residual block; head `pose` reads its last features beside the tokens (`model.network.pose_head`);
- its layers are wide, and begin as PyTorch's Linear does, by fan-in; std 0.02 would be too little for them.
"""

from torch import Tensor, nn

from data_contracts.parameters import DSTformerConfig
from data_contracts.skeleton import NUM_JOINTS
from model.network.cosines import cosines


class Stem(nn.Module):
    """(B, T, 17, features_in) of a whole window -> to be added to its tokens (B, P, 17, C), and features (B, width)."""

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
        """Weights as Linear draws them."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()


class Residual(nn.Module):
    """x + Linear(GELU(Linear(LayerNorm(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
