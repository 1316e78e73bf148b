"""Read and write the fitted baselines, one safetensors file each; the MLP's file has its shape in the header."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data_contracts.errors import InputError
from data_contracts.parameters import HeadKind, NetworkConfig
from data_contracts.report import BASELINES, baseline_file
from model.baselines.linear import Linear, MeanDepth
from model.network.network import PoseNetwork

_HEADER = "pose_uplift"


@dataclass(frozen=True)
class Baselines:
    """Baselines of one windows folder, on the CPU; each maps 2D windows (B, T, 17, 3) to 3D poses (B, T, 17, 3)."""

    mean_depth: MeanDepth
    linear: Linear
    mlp: PoseNetwork


def save_baselines(folder: Path, fitted: Baselines) -> None:
    """Write one safetensors file per baseline of `BASELINES` into the folder."""
    for name in BASELINES:
        shape = fitted.mlp.config.model_dump_json() if name == "mlp" else "{}"
        tensors = {key: value.contiguous() for key, value in getattr(fitted, name).state_dict().items()}
        save_file(tensors, folder / baseline_file(name), metadata={_HEADER: shape})


def load_baselines(folder: Path) -> Baselines:
    """Read the files that `save_baselines` wrote; a missing or damaged file raises an InputError."""
    (depth, _), (linear, _), (weights, shape) = (_load(folder / baseline_file(name)) for name in BASELINES)
    try:
        mlp = PoseNetwork(NetworkConfig.model_validate(shape), HeadKind.POSE)
        mlp.load_state_dict(weights)
        return Baselines(MeanDepth(**depth), Linear(**linear), mlp.eval())
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder}: the files of the baselines have wrong tensors ({error}); remove the folder and run"
            " `uplift baselines` again"
        ) from error


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads(file.metadata()[_HEADER])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: is not a readable baseline file ({error}); remove its folder and run `uplift baselines` again"
        ) from error
