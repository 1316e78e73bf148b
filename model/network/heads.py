"""Heads: from the features of a window's tokens to its poses.

- `joints` and `depth` map one token to the positions of the token's joint in the token's frames.
- `pose` maps all tokens of the window, and the features of a stem, to all poses. Its outputs are positions per frame or
  amplitudes of the first cosines.
- Head `pose`, and with geometry every head, is initialised to zero, so that it first returns poses without depth.
"""

import math

import torch
from torch import Tensor, nn

from data_contracts.parameters import HeadKind, NetworkConfig
from data_contracts.skeleton import NUM_JOINTS
from model.network.window_mlp import cosines

DEPTH_HEAD_WIDTH = 128


def make_head(config: NetworkConfig, kind: HeadKind) -> nn.Module:
    """Return a head: a function of features (B, P, 17, C), input (B, T, 17, 2 or more), and stem features or None.

    A head returns (B, T, 17, features_out), or (B, T, 17, 3) for `depth`.
    """
    return {HeadKind.JOINTS: JointsHead, HeadKind.DEPTH: DepthHead, HeadKind.POSE: PoseHead}[kind](config)


class JointsHead(nn.Module):
    """Optional representation (Linear + tanh), then Linear to the joint's positions in the token's frames."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.rep_dim or config.embed_dim
        self.representation = (
            nn.Sequential(nn.Linear(config.embed_dim, width), nn.Tanh()) if config.rep_dim else nn.Identity()
        )
        self.joints = nn.Linear(width, config.patch * config.features_out)
        self.patch = config.patch

    def forward(self, features: Tensor, pose_2d: Tensor, stem: Tensor | None) -> Tensor:  # noqa: ARG002
        return _frames(self.joints(self.representation(features)), self.patch)[:, : pose_2d.shape[1]]

    def begin_at_zero(self) -> None:
        nn.init.zeros_(self.joints.weight)


class DepthHead(nn.Module):
    """Linear C to 128, ReLU, Linear 128 to 1: z of every joint; x and y are those of the input."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.depth = nn.Sequential(
            nn.Linear(config.embed_dim, DEPTH_HEAD_WIDTH), nn.ReLU(), nn.Linear(DEPTH_HEAD_WIDTH, config.patch)
        )
        self.patch = config.patch

    def forward(self, features: Tensor, pose_2d: Tensor, stem: Tensor | None) -> Tensor:  # noqa: ARG002
        depth = _frames(self.depth(features), self.patch)[:, : pose_2d.shape[1]]  # (B, T, 17, 1)
        return torch.cat((pose_2d[..., :2].to(depth.dtype), depth), dim=-1)


class PoseHead(nn.Module):
    """Linear from all concatenated tokens, and from the stem's features, to all poses of the window."""

    basis: Tensor | None

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.features_out = config.features_out
        frames, numbers = config.padded_frames, NUM_JOINTS * config.features_out
        count = min(config.cosines or frames, frames)
        # inverse of the stem's basis: amplitudes about as large as coordinates
        basis = cosines(frames, count).T.contiguous() * (frames / count) ** 0.5 if config.cosines else None
        self.register_buffer("basis", basis, persistent=False)
        self.poses = nn.Linear(math.prod(config.feature_shape), count * numbers)
        with_stem = config.kind == "dstformer" and config.stem == "window"
        self.from_stem = nn.Linear(config.stem_width, count * numbers) if with_stem else None

    def forward(self, features: Tensor, pose_2d: Tensor, stem: Tensor | None) -> Tensor:
        out = self.poses(features.flatten(1))
        if self.from_stem is not None and stem is not None:
            out = out + self.from_stem(stem)
        if self.basis is None:
            poses = out.unflatten(1, (-1, NUM_JOINTS, self.features_out))
        else:
            out = out.unflatten(1, (-1, len(self.basis))) @ self.basis  # (B, 17 * features_out, frames)
            poses = out.transpose(1, 2).unflatten(2, (NUM_JOINTS, -1))
        return poses[:, : pose_2d.shape[1]]

    def begin_at_zero(self) -> None:
        nn.init.zeros_(self.poses.weight)
        if self.from_stem is not None:
            nn.init.zeros_(self.from_stem.weight)


def _frames(tokens: Tensor, patch: int) -> Tensor:
    """Reshape (B, P, 17, patch * D) to (B, P * patch, 17, D)."""
    return tokens.unflatten(-1, (patch, -1)).transpose(2, 3).flatten(1, 2)
