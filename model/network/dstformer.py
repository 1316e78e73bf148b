"""DSTformer: the dual-stream spatio-temporal transformer of MotionBERT (Zhu et al., ICCV 2023, section 4.1).

Notable decisions:
- input joint embedding + joint position embedding + frame position embedding;
- `fusion_depth` stages, each of an ST stream (space, then time) and a TS stream (time, then space) of `attn_depth`
  pre-LayerNorm blocks, fused per joint by a softmax over Linear(2C -> 2); `attn_depth=1` is MotionBERT's network;
- backbone = all up to the last LayerNorm; head = that LayerNorm (`norm`) and what follows (`head`), so that freezing
  the backbone and exchanging the head are one attribute each;
- a block turns (B, T, J, C) so that the sequence attended over is the last but one dimension: one copy of x instead of
  strided q, k, v. `model.network.attention` says how it attends;
- the softmax over two streams is taken as a sigmoid, without their concatenation.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from data_contracts.parameters import DSTformerConfig, HeadKind
from data_contracts.skeleton import NUM_JOINTS
from model.network.attention import attend

__all__ = ["DSTformer", "DSTformerConfig"]

LAYER_NORM_EPS = 1e-6
DEPTH_HEAD_WIDTH = 128


class DSTformer(nn.Module):
    """Poses in, poses out, in the window's normalised units.

    Parameters
    ----------
    config
        Shape of the network.
    head
        `joints`: (B, T, 17, dim_out). `depth`: (B, T, 17, 3) with x and y taken from the input.
    """

    def __init__(self, config: DSTformerConfig, head: HeadKind = HeadKind.JOINTS) -> None:
        super().__init__()
        self.config = config
        self.head_kind = head
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.head = DepthHead(config) if head is HeadKind.DEPTH else JointsHead(config)
        self.apply(_initialise)
        for fusion in self.backbone.fusions:  # both streams weigh the same at the start, as in MotionBERT
            fusion.apply(_initialise_fusion)

    def forward(self, pose_2d: Tensor, masked: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Pose of every frame.

        Parameters
        ----------
        pose_2d
            (B, T, 17, 3): x right, y down, confidence. T is at most `config.max_frames`.
        masked
            (B, T, 17) bool: joints in whose place the learned token goes, where the network has one.
        features
            (B, T, 17, C): what the backbone made of `pose_2d`, where that is known already.

        Returns
        -------
        Tensor
            (B, T, 17, 2 or 3), not yet relative to the pelvis; see `model.network.lifting.lift`.

        Raises
        ------
        ValueError
            The shape is not (B, T, 17, >= dim_in), or T is longer than the network was made for.
        """
        if pose_2d.ndim != 4 or pose_2d.shape[2] != NUM_JOINTS or pose_2d.shape[3] < self.config.dim_in:
            raise ValueError(f"pose_2d has shape {tuple(pose_2d.shape)}; expected (batch, frames, {NUM_JOINTS}, 3)")
        if pose_2d.shape[1] > self.config.max_frames:
            raise ValueError(f"{pose_2d.shape[1]} frames; this network takes at most {self.config.max_frames}")
        if features is None:
            features = self.backbone(pose_2d, masked)
        return self.head(self.norm(features), pose_2d)


class Backbone(nn.Module):
    """Everything up to the last LayerNorm: (B, T, 17, >= dim_in), masked (B, T, 17) -> features (B, T, 17, C)."""

    def __init__(self, config: DSTformerConfig) -> None:
        super().__init__()
        self.dim_in = config.dim_in
        self.gradient_checkpointing = False
        self.joints_embed = nn.Linear(config.dim_in, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.empty(1, NUM_JOINTS, config.embed_dim))
        self.temp_embed = nn.Parameter(torch.empty(1, config.max_frames, 1, config.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.temp_embed, std=0.02)
        self.mask_token = nn.Parameter(torch.zeros(config.dim_in)) if config.mask_token else None
        stages = range(config.fusion_depth)
        self.streams_st = nn.ModuleList(Stream(config, spatial_first=True) for _ in stages)
        self.streams_ts = nn.ModuleList(Stream(config, spatial_first=False) for _ in stages)
        self.fusions = nn.ModuleList(nn.Linear(2 * config.embed_dim, 2) for _ in stages)

    def forward(self, pose_2d: Tensor, masked: Tensor | None = None) -> Tensor:
        x = pose_2d[..., : self.dim_in]
        if self.mask_token is not None and masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = self.joints_embed(x) + self.pos_embed  # (B, T, J, C)
        x = x + self.temp_embed[:, : x.shape[1]]
        for stage in range(len(self.fusions)):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(self._stage, x, stage, use_reentrant=False)
            else:
                x = self._stage(x, stage)
        return x

    def _stage(self, x: Tensor, stage: int) -> Tensor:
        st, ts = self.streams_st[stage](x), self.streams_ts[stage](x)
        # softmax over two is the sigmoid of their difference: weights of st, 1 - weights of ts
        fusion = self.fusions[stage]
        assert isinstance(fusion, nn.Linear)
        dim = x.shape[-1]
        difference = fusion.weight[:1] - fusion.weight[1:]  # (1, 2C)
        logit = linear(st, difference[:, :dim], fusion.bias[:1] - fusion.bias[1:]) + linear(ts, difference[:, dim:])
        return ts.lerp(st, logit.to(st.dtype).sigmoid())


class Stream(nn.Sequential):
    """`attn_depth` blocks, each over space and time in the stream's order."""

    def __init__(self, config: DSTformerConfig, spatial_first: bool) -> None:
        super().__init__(*(Block(config, spatial_first) for _ in range(config.attn_depth)))


class Block(nn.Module):
    """Attention and MLP over space, and the same over time (or in the reverse order), pre-LayerNorm, residual."""

    def __init__(self, config: DSTformerConfig, spatial_first: bool) -> None:
        super().__init__()
        self.spatial_first = spatial_first
        self.spatial = AttentionMLP(config)
        self.temporal = AttentionMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        if self.spatial_first:
            return self._over_time(self._over_space(x))
        return self._over_space(self._over_time(x))

    def _over_space(self, x: Tensor) -> Tensor:
        return self.spatial(x.flatten(0, 1)).view(x.shape)  # (B * T, J, C)

    def _over_time(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        return self.temporal(x.flatten(0, 1)).view(x.shape).transpose(1, 2)  # (B * J, T, C)


class AttentionMLP(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), of sequences (N, L, C)."""

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
        # without a gradient GELU overwrites its input: no second array of the network's widest features
        hidden = self.mlp[1](hidden) if hidden.requires_grad else torch.ops.aten.gelu_(hidden)
        return x + self.mlp[2](hidden)


class JointsHead(nn.Module):
    """Optional representation (Linear + tanh), then Linear to the pose: (B, T, 17, C) -> (B, T, 17, dim_out)."""

    def __init__(self, config: DSTformerConfig) -> None:
        super().__init__()
        width = config.rep_dim or config.embed_dim
        self.representation = (
            nn.Sequential(nn.Linear(config.embed_dim, width), nn.Tanh()) if config.rep_dim else nn.Identity()
        )
        self.joints = nn.Linear(width, config.dim_out)

    def forward(self, features: Tensor, pose_2d: Tensor) -> Tensor:  # noqa: ARG002 - a head may look at its input
        return self.joints(self.representation(features))


class DepthHead(nn.Module):
    """The seed's head, Linear C -> 128, ReLU, Linear 128 -> 1: z of every joint, x and y from the input."""

    def __init__(self, config: DSTformerConfig) -> None:
        super().__init__()
        self.depth = nn.Sequential(
            nn.Linear(config.embed_dim, DEPTH_HEAD_WIDTH), nn.ReLU(), nn.Linear(DEPTH_HEAD_WIDTH, 1)
        )

    def forward(self, features: Tensor, pose_2d: Tensor) -> Tensor:
        depth = self.depth(features)  # (B, T, 17, 1)
        return torch.cat((pose_2d[..., :2].to(depth.dtype), depth), dim=-1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _initialise_fusion(module: nn.Module) -> None:
    assert isinstance(module, nn.Linear)
    nn.init.zeros_(module.weight)
    nn.init.constant_(module.bias, 0.5)
