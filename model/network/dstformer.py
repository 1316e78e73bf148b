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

from data_contracts.parameters import DSTformerConfig, HeadKind
from data_contracts.skeleton import NUM_JOINTS
from model.network.attention import attend
from model.network.foreshortening import Foreshortening
from model.network.heads import JointsHead, PoseHead, make_head
from model.network.stem import Stem

LAYER_NORM_EPS = 1e-6


class DSTformer(nn.Module):
    """Network from 2D poses to 2D or 3D poses, in the window's normalised units.

    Heads `joints` and `pose` return (B, T, 17, dim_out). Head `depth` returns (B, T, 17, 3) with x and y of the input.
    Geometry also takes x and y from the input, so head `depth` cannot be combined with geometry.
    """

    def __init__(self, config: DSTformerConfig, head: HeadKind = HeadKind.JOINTS) -> None:
        super().__init__()
        self.config, self.head_kind = config, head
        if head is HeadKind.DEPTH and config.geometry != "none":
            raise ValueError(
                "head depth cannot be combined with geometry: both take x and y from the input; pass joints or pose"
            )
        self.backbone = Backbone(config, whole_windows=head is HeadKind.POSE)
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.head = make_head(config, head)
        self.apply(_initialise)
        for fusion in self.backbone.fusions:  # equal weights at the start, as in MotionBERT
            assert isinstance(fusion, nn.Linear)
            nn.init.zeros_(fusion.weight)
            nn.init.constant_(fusion.bias, 0.5)
        if self.backbone.stem is not None:
            self.backbone.stem.initialise()
        if isinstance(self.head, PoseHead) or (isinstance(self.head, JointsHead) and config.geometry != "none"):
            self.head.begin_at_zero()

    def forward(self, pose_2d: Tensor, masked: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Return the pose of every frame (B, T, 17, 2 or 3), not relative to the pelvis.

        Parameters
        ----------
        pose_2d
            (B, T, 17, 3): x right, y down, confidence. Other shapes and T above `config.max_frames` raise a ValueError.
        masked
            (B, T, 17) bool: joints to replace by the learned mask token, if the network has one.
        features
            (B, P, 17, C): cached output of `encode` for `pose_2d`; not allowed if the head reads the stem.
        """
        if pose_2d.ndim != 4 or pose_2d.shape[2] != NUM_JOINTS or pose_2d.shape[3] < self.config.dim_in:
            raise ValueError(f"pose_2d has shape {tuple(pose_2d.shape)}; expected (batch, frames, {NUM_JOINTS}, 3)")
        if pose_2d.shape[1] > self.config.max_frames:
            raise ValueError(
                f"pose_2d has {pose_2d.shape[1]} frames; this network takes at most {self.config.max_frames}"
            )
        if self.backbone.geometry is None:
            return self._answer(pose_2d, masked, features)
        view = self.backbone.geometry(pose_2d)
        return self.backbone.geometry.pose(self._answer(view.inputs, masked, features), view)

    def _answer(self, x: Tensor, masked: Tensor | None, features: Tensor | None) -> Tensor:
        stem = None
        if features is None:
            features, stem = self.backbone.encode(x, masked)
        answer: Tensor = self.head(self.norm(features), x, stem)
        return answer

    def encode(self, pose_2d: Tensor) -> Tensor:
        """Return the backbone's features of every token: (B, P, 17, C)."""
        geometry = self.backbone.geometry
        return self.backbone(pose_2d if geometry is None else geometry(pose_2d).inputs)

    @property
    def reads_stem(self) -> bool:
        """Whether the head reads features of the stem in addition to the features of the tokens."""
        return self.backbone.stem is not None and self.head_kind is HeadKind.POSE


class Backbone(nn.Module):
    """Layers before the last LayerNorm: (B, T, 17, features_in or more) to (B, P, 17, C), with P tokens per joint."""

    def __init__(self, config: DSTformerConfig, whole_windows: bool = False) -> None:
        super().__init__()
        self.features_in, self.patch, self.max_tokens = config.features_in, config.patch, config.max_tokens
        self.whole_windows = whole_windows or config.stem == "window"
        self.gradient_checkpointing = False
        self.joints_embed = nn.Linear(config.patch * config.features_in, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.empty(1, NUM_JOINTS, config.embed_dim))
        self.temp_embed = nn.Parameter(torch.empty(1, config.max_tokens, 1, config.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.temp_embed, std=0.02)
        self.mask_token = nn.Parameter(torch.zeros(config.features_in)) if config.mask_token else None
        self.geometry = None if config.geometry == "none" else Foreshortening()
        self.stem = None if config.stem == "none" else Stem(config)
        stages, blocks = range(config.fusion_depth), range(config.attn_depth)
        self.streams_st = nn.ModuleList(nn.Sequential(*(Block(config, True) for _ in blocks)) for _ in stages)
        self.streams_ts = nn.ModuleList(nn.Sequential(*(Block(config, False) for _ in blocks)) for _ in stages)
        self.fusions = nn.ModuleList(nn.Linear(2 * config.embed_dim, 2) for _ in stages)

    def forward(self, x: Tensor, masked: Tensor | None = None) -> Tensor:
        return self.encode(x, masked)[0]

    def encode(self, x: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the features of all tokens and, if there is a stem, its features (B, width)."""
        x = x[..., : self.features_in]
        if self.mask_token is not None and masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = self._padded(x)
        y = self.joints_embed(self._patches(x)) + self.pos_embed  # (B, P, J, C)
        y = y + self.temp_embed[:, : y.shape[1]]
        stem = None
        if self.stem is not None:
            added, stem = self.stem(x)
            y = y + added
        for stage in range(len(self.fusions)):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                y = checkpoint(self._stage, y, stage, use_reentrant=False)
            else:
                y = self._stage(y, stage)
        return y, stem

    def tokens(self, frames: int) -> int:
        """Return the number of tokens per joint for a window of `frames` frames."""
        return self.max_tokens if self.whole_windows else -(-frames // self.patch)

    def _padded(self, x: Tensor) -> Tensor:
        missing = self.tokens(x.shape[1]) * self.patch - x.shape[1]
        if not missing:
            return x
        last = x[:, -1:].expand(-1, missing, -1, -1)
        return torch.cat((x, torch.cat((last[..., :2], last[..., 2:3] * 0, last[..., 3:]), dim=-1)), dim=1)

    def _patches(self, x: Tensor) -> Tensor:
        """Reshape (B, P * patch, J, D) to (B, P, J, patch * D)."""
        return x if self.patch == 1 else x.unflatten(1, (-1, self.patch)).transpose(2, 3).flatten(3)

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

    def __init__(self, config: DSTformerConfig, spatial_first: bool) -> None:
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

    def __init__(self, config: DSTformerConfig) -> None:
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


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
