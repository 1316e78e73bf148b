"""The DSTformer in plain eager PyTorch: the reference of tests and the baseline of `benchmarks.speed`.

It follows the authors' code (MotionBERT, Zhu et al., ICCV 2023, section 4.1; lib/model/DSTformer.py) operation by
operation: joints of a frame are a sequence (B*T, 17, C), attention is softmax(q k^T * scale) v with the weights of all
heads in memory, and attention over time reshapes to (B, H, 17, T, C/H) and back. Parameters have the names of
`model.network.dstformer`, so both networks load the same state dict.
"""

import torch
from torch import Tensor, nn

from data_contracts.parameters import NetworkConfig
from data_contracts.skeleton import NUM_JOINTS


class EagerDSTformer(nn.Module):
    """(B, T, 17, >= dim_in) -> (B, T, 17, dim_out)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.backbone = EagerBackbone(config)
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)
        width = config.rep_dim or config.embed_dim
        self.head = nn.ModuleDict({"joints": nn.Linear(width, config.dim_out)})
        if config.rep_dim:
            self.head["representation"] = nn.Sequential(nn.Linear(config.embed_dim, width), nn.Tanh())

    def forward(self, pose_2d: Tensor) -> Tensor:
        x = self.norm(self.backbone(pose_2d))
        if "representation" in self.head:
            x = self.head["representation"](x)
        return self.head["joints"](x)


class EagerBackbone(nn.Module):
    """Pose (windows, frames, joints, channels) -> features of every joint, both streams fused after each block."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dim_in = config.dim_in
        self.joints_embed = nn.Linear(config.dim_in, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, NUM_JOINTS, config.embed_dim))
        self.temp_embed = nn.Parameter(torch.zeros(1, config.max_frames, 1, config.embed_dim))
        stages, blocks = range(config.fusion_depth), range(config.attn_depth)
        self.streams_st = nn.ModuleList(nn.Sequential(*(EagerBlock(config, "st") for _ in blocks)) for _ in stages)
        self.streams_ts = nn.ModuleList(nn.Sequential(*(EagerBlock(config, "ts") for _ in blocks)) for _ in stages)
        self.fusions = nn.ModuleList(nn.Linear(2 * config.embed_dim, 2) for _ in stages)

    def forward(self, pose_2d: Tensor) -> Tensor:
        batch, frames, joints, _ = pose_2d.shape
        x = self.joints_embed(pose_2d[..., : self.dim_in].reshape(-1, joints, self.dim_in))
        x = x + self.pos_embed
        x = x.reshape(batch, frames, joints, -1) + self.temp_embed[:, :frames]
        x = x.reshape(batch * frames, joints, -1)
        for stream_st, stream_ts, fusion in zip(self.streams_st, self.streams_ts, self.fusions, strict=True):
            st, ts = x, x
            for block in stream_st:
                st = block(st, frames)
            for block in stream_ts:
                ts = block(ts, frames)
            alpha = fusion(torch.cat((st, ts), dim=-1)).softmax(dim=-1)
            x = st * alpha[:, :, 0:1] + ts * alpha[:, :, 1:2]
        return x.reshape(batch, frames, joints, -1)


class EagerBlock(nn.Module):
    """Attention over space and over time, in the order of its stream, each with an MLP."""

    def __init__(self, config: NetworkConfig, order: str) -> None:
        super().__init__()
        self.order = order
        self.spatial = EagerAttentionMLP(config, over_time=False)
        self.temporal = EagerAttentionMLP(config, over_time=True)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        if self.order == "st":
            return self.temporal(self.spatial(x, frames), frames)
        return self.spatial(self.temporal(x, frames), frames)


class EagerAttentionMLP(nn.Module):
    """Attention, then an MLP, each with LayerNorm before and a residual connection."""

    def __init__(self, config: NetworkConfig, over_time: bool) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, int(config.embed_dim * config.mlp_ratio)
        self.over_time = over_time
        self.heads = config.heads
        self.scale = (dim // config.heads) ** -0.5
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = x + self._attention(self.norm1(x), frames)
        return x + self.mlp(self.norm2(x))

    def _attention(self, x: Tensor, frames: int) -> Tensor:
        n, joints, dim = x.shape  # n = batch * frames
        qkv = self.qkv(x).reshape(n, joints, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # (B*T, H, J, D)
        x = self._over_time(q, k, v, frames) if self.over_time else self._over_space(q, k, v)
        return self.proj(x)

    def _over_space(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n, heads, joints, width = q.shape
        weights = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return (weights @ v).transpose(1, 2).reshape(n, joints, heads * width)

    def _over_time(self, q: Tensor, k: Tensor, v: Tensor, frames: int) -> Tensor:
        n, heads, joints, width = q.shape
        # (B*T, H, J, D) -> (B, H, J, T, D)
        q, k, v = (z.reshape(-1, frames, heads, joints, width).permute(0, 2, 3, 1, 4) for z in (q, k, v))
        weights = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return (weights @ v).permute(0, 3, 2, 1, 4).reshape(n, joints, heads * width)
