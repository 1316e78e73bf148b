"""Load published MotionBERT checkpoints (github.com/Walter0807/MotionBERT) into this project's DSTformer."""

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from data_contracts.errors import InputError
from data_contracts.parameters import NetworkConfig
from model.network.network import PoseNetwork

HEADS = 8  # in every published model; not visible in the shapes
_RENAMED = (
    (r"^(joints_embed|pos_embed|temp_embed)", r"backbone.\1"),
    (r"^ts_attn\.", "backbone.fusions."),
    (r"^blocks_(st|ts)\.(\d+)\.", r"backbone.streams_\1.\2.0."),
    (r"^pre_logits\.fc\.", "head.representation.0."),
    (r"^head\.(weight|bias)$", r"head.joints.\1"),
    (r"(norm[12])_([st])\.", r"\2.\1."),
    (r"attn_([st])\.(qkv|proj)\.", r"\1.\2."),
    (r"mlp_([st])\.fc1\.", r"\1.mlp.0."),
    (r"mlp_([st])\.fc2\.", r"\1.mlp.2."),
)
_STREAM = {"s": "spatial", "t": "temporal"}


def load_motionbert(path: Path) -> PoseNetwork:
    """Return the network of a published checkpoint (key `model_pos`, `module.` prefix), on the CPU, in eval mode.

    The tensor shapes determine widths and depth. Only tensors are unpickled. Other content raises an InputError.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path}: not a readable MotionBERT checkpoint ({' '.join(str(error).split())[:200]}); copy it again"
        ) from error
    published = content.get("model_pos") if isinstance(content, dict) else None
    if not isinstance(published, dict):
        raise InputError(
            f"{path}: is not a MotionBERT checkpoint (no state dict under 'model_pos'); pass a published file"
        )
    weights = {_rename(name.removeprefix("module.")): value for name, value in published.items()}
    try:
        network = PoseNetwork(_config(weights))
    except KeyError as error:
        raise InputError(f"{path}: has no tensor {error}; pass a published MotionBERT file") from error
    fill(network, weights, path)
    return network.eval()


def fill(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights from `path` into a network; raise an InputError if a tensor is missing or has a wrong shape."""
    for name, value in network.state_dict().items():
        if name not in weights or weights[name].shape != value.shape:
            found = f"has shape {tuple(weights[name].shape)}" if name in weights else "is missing"
            raise InputError(f"{path}: tensor {name!r} {found}, expected shape {tuple(value.shape)}; pass another file")
    network.load_state_dict(weights)


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"(\.streams_\w\w\.\d+\.0\.)([st])\.", lambda match: f"{match[1]}{_STREAM[match[2]]}.", name)


def _config(weights: dict[str, Tensor]) -> NetworkConfig:
    embed_dim, dim_in = weights["backbone.joints_embed.weight"].shape
    representation = weights.get("head.representation.0.weight")
    return NetworkConfig(
        dim_in=dim_in,
        dim_out=weights["head.joints.weight"].shape[0],
        embed_dim=embed_dim,
        heads=HEADS,
        fusion_depth=sum(name.endswith("weight") for name in weights if name.startswith("backbone.fusions.")),
        mlp_ratio=weights["backbone.streams_st.0.0.spatial.mlp.0.weight"].shape[0] / embed_dim,
        rep_dim=None if representation is None else representation.shape[0],
        max_frames=weights["backbone.temp_embed"].shape[1],
    )
