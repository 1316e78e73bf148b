"""Checkpoints: one safetensors file each, its header holding the JSON that says what the tensors are.

Nothing is unpickled. A file is written beside its place and renamed, so that a killed run leaves the one before.
`model.safetensors` of a run folder is its best network; `last.safetensors` also holds the optimiser and the loop's
state.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from data_contracts.errors import InputError
from data_contracts.parameters import DSTformerConfig, HeadKind
from model.dstformer import DSTformer

LAST_FILE = "last.safetensors"
_NETWORK, _OPTIMISER = "network.", "optimiser."


def save_network(path: Path, network: DSTformer, about: dict[str, Any]) -> None:
    """Write the network's weights, configuration and `about` (epoch, metrics, ...: any JSON) to `path`, atomically."""
    _save(path, _network_tensors(network), network, about)


def load_network(path: Path) -> DSTformer:
    """The network of a checkpoint file, on the CPU, in evaluation mode.

    Raises
    ------
    InputError
        The file is missing, damaged, or its tensors do not fit its configuration (names the tensor and both shapes).
    """
    tensors, header = _load(path)
    network = DSTformer(DSTformerConfig.model_validate(header["config"]), HeadKind(header["head"]))
    _fill(network, tensors, path)
    return network.eval()


def read_about(path: Path) -> dict[str, Any]:
    """What `save_network` was told about the network at `path`."""
    return _load(path)[1]["about"]


def save_training(path: Path, network: DSTformer, optimiser: Optimizer, state: dict[str, Any]) -> None:
    """Write all that training needs to go on: weights, optimiser tensors, and the loop's `state` (JSON)."""
    tensors = _network_tensors(network)
    for index, entries in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}.{name}": value.contiguous() for name, value in entries.items()}
    _save(path, tensors, network, state)


def load_training(path: Path, network: nn.Module, optimiser: Optimizer) -> dict[str, Any]:
    """Restore network and optimiser from `save_training`; returns the loop's state.

    Raises
    ------
    InputError
        The file is damaged or belongs to another network.
    """
    tensors, header = _load(path)
    _fill(network, tensors, path)
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMISER):
            index, name = key.removeprefix(_OPTIMISER).split(".", 1)
            entries.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    return header["about"]


def _network_tensors(network: nn.Module) -> dict[str, Tensor]:
    return {_NETWORK + name: value.detach().contiguous() for name, value in network.state_dict().items()}


def _save(path: Path, tensors: dict[str, Tensor], network: DSTformer, about: dict[str, Any]) -> None:
    header = {"config": network.config.model_dump(mode="json"), "head": network.head_kind, "about": about}
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata={"pose_uplift": json.dumps(header)})
    temporary.replace(path)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads(file.metadata()["pose_uplift"])
            return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable checkpoint of this project ({error})") from error


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    weights = {key.removeprefix(_NETWORK): value for key, value in tensors.items() if key.startswith(_NETWORK)}
    for name, value in network.state_dict().items():
        if name not in weights:
            raise InputError(f"{path}: has no tensor {name!r}")
        if weights[name].shape != value.shape:
            raise InputError(
                f"{path}: tensor {name!r} has shape {tuple(weights[name].shape)}, the network {tuple(value.shape)}"
            )
    with torch.no_grad():
        network.load_state_dict(weights)
