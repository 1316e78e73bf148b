"""DSTformer: the dual-stream spatio-temporal transformer of MotionBERT (Zhu et al., ICCV 2023, section 4.1).

Joint embedding + joint position embedding + frame position embedding, then `fusion_depth` stages. A stage has an ST
stream (space, then time) and a TS stream (time, then space) of `attn_depth` pre-LayerNorm blocks, fused per joint by a
softmax over Linear(2C -> 2). `attn_depth=1` without stem is MotionBERT's network.

- A token is one joint over `patch` frames: a window of T frames has 17 x ceil(T / patch) tokens. A window is padded
  with its last frame at confidence 0 to a multiple of `patch`, or to `max_frames` if stem or head need whole windows.
- The backbone ends before the last LayerNorm, so that freezing it and replacing the head are one attribute each.
- A block transposes (B, T, J, C) so that attention runs over the last but one dimension. One copy is faster than
  strided q, k and v.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from data_contracts.parameters import NetworkConfig
from data_contracts.skeleton import NUM_JOINTS
from model.network.attention import attend
from model.network.backbone import LAYER_NORM_EPS, Backbone
from model.network.window_mlp import Stem


class DSTformer(Backbone):
    """Backbone (B, T, 17, features_in or more) -> (B, P, 17, C) with P tokens per joint.

    With `whole_windows` or a stem, every window has the tokens of `config.max_frames` frames.
    """

    def __init__(self, config: NetworkConfig, whole_windows: bool = False) -> None:
        super().__init__(config)
        self._whole_windows = whole_windows or config.stem == "window"
        self.joints_embed = nn.Linear(config.patch * config.features_in, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.empty(1, NUM_JOINTS, config.embed_dim))
        self.temp_embed = nn.Parameter(torch.empty(1, config.max_tokens, 1, config.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.temp_embed, std=0.02)
        self.stem = None if config.stem == "none" else Stem(config)
        stages, blocks = range(config.fusion_depth), range(config.attn_depth)
        self.streams_st = nn.ModuleList(nn.Sequential(*(Block(config, True) for _ in blocks)) for _ in stages)
        self.streams_ts = nn.ModuleList(nn.Sequential(*(Block(config, False) for _ in blocks)) for _ in stages)
        self.fusions = nn.ModuleList(nn.Linear(2 * config.embed_dim, 2) for _ in stages)

    @property
    def whole_windows(self) -> bool:
        return self._whole_windows

    def features_of(self, frames: int) -> tuple[int, ...]:
        tokens, *rest = self.config.feature_shape
        return (tokens if self._whole_windows else -(-frames // self.config.patch), *rest)

    def initialise(self) -> None:
        for fusion in self.fusions:  # equal weights at the start, as in MotionBERT
            assert isinstance(fusion, nn.Linear)
            nn.init.zeros_(fusion.weight)
            nn.init.constant_(fusion.bias, 0.5)
        if isinstance(self.stem, Stem):
            self.stem.initialise()

    def encode(self, x: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = self._inputs(x, masked, self.features_of(x.shape[1])[0] * self.config.patch)
        y = self.joints_embed(self._patches(x)) + self.pos_embed  # (B, P, J, C)
        y = y + self.temp_embed[:, : y.shape[1]]
        stem = None
        if isinstance(self.stem, Stem):
            stem = self.stem(x)
            y = y + self.stem.added(stem)
        for stage in range(len(self.fusions)):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                y = checkpoint(self._stage, y, stage, use_reentrant=False)
            else:
                y = self._stage(y, stage)
        return y, stem

    def _patches(self, x: Tensor) -> Tensor:
        """Reshape (B, P * patch, J, D) to (B, P, J, patch * D)."""
        patch = self.config.patch
        return x if patch == 1 else x.unflatten(1, (-1, patch)).transpose(2, 3).flatten(3)

    def _stage(self, x: Tensor, stage: int) -> Tensor:
        st, ts = self.streams_st[stage](x), self.streams_ts[stage](x)
        # softmax over two is the sigmoid of their difference: weights of st, 1 - weights of ts
        fusion, dim = self.fusions[stage], x.shape[-1]
        assert isinstance(fusion, nn.Linear)
        difference = fusion.weight[:1] - fusion.weight[1:]  # (1, 2C)
        logit = linear(st, difference[:, :dim], fusion.bias[:1] - fusion.bias[1:]) + linear(ts, difference[:, dim:])
        return ts.lerp(st, logit.to(st.dtype).sigmoid())


class Block(nn.Module):
    """Attention and MLP over joints and over frames, in either order; pre-LayerNorm, residual."""

    def __init__(self, config: NetworkConfig, spatial_first: bool) -> None:
        super().__init__()
        self.spatial_first = spatial_first
        self.spatial, self.temporal = AttentionMLP(config), AttentionMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        return self._over_time(self._over_space(x)) if self.spatial_first else self._over_space(self._over_time(x))

    def _over_space(self, x: Tensor) -> Tensor:
        return self.spatial(x.flatten(0, 1)).view(x.shape)  # (B * T, J, C)

    def _over_time(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        return self.temporal(x.flatten(0, 1)).view(x.shape).transpose(1, 2)  # (B * J, T, C)


class AttentionMLP(nn.Module):
    """Compute x + attention(norm(x)), then x + MLP(norm(x)), for N sequences (N, L, C)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, int(config.embed_dim * config.mlp_ratio)
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.proj(attend(self.qkv(self.norm1(x)), self.heads))
        hidden = self.mlp[0](self.norm2(x))
        # without gradients GELU works in place, which saves an array of the widest features
        hidden = self.mlp[1](hidden) if hidden.requires_grad else torch.ops.aten.gelu_(hidden)
        return x + self.mlp[2](hidden)
