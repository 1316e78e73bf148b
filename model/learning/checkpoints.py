"""Checkpoints: one safetensors file each, its header holding the JSON that says what the tensors are.

Nothing is unpickled. A file is written beside its place and renamed, so that a killed run leaves the one before, and a
digest in its header tells a damaged one. `model.safetensors` of a run folder is its best network; `last.safetensors`
also holds the optimiser, the average of the weights (its own are those that learn on), and the loop's state. Published
MotionBERT checkpoints (`.bin`) are read as they are.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from data_contracts.errors import InputError
from data_contracts.parameters import DSTformerConfig, HeadKind
from model.learning.averaging import AveragedWeights
from model.network.dstformer import DSTformer
from model.network.motionbert import load_motionbert

__all__ = ["load_last", "load_motionbert", "load_network", "read_about", "save_last", "save_network"]

LAST_FILE, BEFORE_LAST_FILE = "last.safetensors", "before-last.safetensors"
_NETWORK, _OPTIMISER, _AVERAGE = "network.", "optimiser.", "average."
_HEADER = "pose_uplift"
_LOG = logging.getLogger(__name__)


def save_network(path: Path, network: DSTformer, about: dict[str, Any]) -> None:
    """Write the network's weights, configuration and `about` (epoch, metrics, ...: any JSON) to `path`, atomically."""
    _save(path, _network_tensors(network), network, about)


def load_network(path: Path) -> DSTformer:
    """The network of a checkpoint file, on the CPU, in evaluation mode; `.bin` is a published MotionBERT checkpoint.

    Raises
    ------
    InputError
        The file is missing, damaged, or its tensors do not fit its configuration (names the tensor and both shapes).
    """
    if path.suffix == ".bin":
        return load_motionbert(path)
    tensors, header = _load(path)
    network = DSTformer(DSTformerConfig.model_validate(header["config"]), HeadKind(header["head"]))
    _fill(network, tensors, path)
    return network.eval()


def read_about(path: Path) -> dict[str, Any]:
    """What `save_network` was told about the network at `path`; nothing of a published MotionBERT checkpoint."""
    if path.suffix == ".bin":
        return {}
    return _load(path)[1]["about"]


def save_last(
    folder: Path, network: DSTformer, optimiser: Optimizer, average: AveragedWeights, state: dict[str, Any]
) -> None:
    """Write all that training needs to go on: weights, optimiser tensors, their average, and the loop's `state` (JSON).

    The file that was there before stays beside it, for the case that the new one is damaged.
    """
    tensors = _network_tensors(network)
    for index, entries in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}.{name}": value.contiguous() for name, value in entries.items()}
    tensors |= {_AVERAGE + name: value for name, value in average.state_dict().items()}
    last = folder / LAST_FILE
    written = _write(last, tensors, network, state)
    if last.is_file():
        last.replace(folder / BEFORE_LAST_FILE)
    written.replace(last)


def load_last(
    folder: Path, network: nn.Module, optimiser: Optimizer, average: AveragedWeights
) -> dict[str, Any] | None:
    """Restore all three from the newest whole file of `save_last`; returns the loop's state, None where there is none.

    Raises
    ------
    InputError
        The file belongs to another network.
    """
    for path in (folder / LAST_FILE, folder / BEFORE_LAST_FILE):
        if not path.is_file():
            continue
        try:
            tensors, header = _load(path)
        except InputError as error:
            _LOG.warning("%s; going on from the one before", error)
            continue
        _fill(network, tensors, path)
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(_OPTIMISER):
                index, name = key.removeprefix(_OPTIMISER).split(".", 1)
                entries.setdefault(int(index), {})[name] = value
        average.load_state_dict({key.removeprefix(_AVERAGE): value for key, value in tensors.items()})
        optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
        return header["about"]
    return None


def _network_tensors(network: nn.Module) -> dict[str, Tensor]:
    return {_NETWORK + name: value.detach().contiguous() for name, value in network.state_dict().items()}


def _save(path: Path, tensors: dict[str, Tensor], network: DSTformer, about: dict[str, Any]) -> None:
    _write(path, tensors, network, about).replace(path)


def _write(path: Path, tensors: dict[str, Tensor], network: DSTformer, about: dict[str, Any]) -> Path:
    header = {"config": network.config.model_dump(mode="json"), "head": network.head_kind, "about": about}
    header["digest"] = _digest(tensors, json.dumps(header))
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata={_HEADER: json.dumps(header)})  # of two entries the order would vary
    return temporary


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    """SHA-256 of the header and, by name, of every tensor's bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        if header.pop("digest") != _digest(tensors, json.dumps(header)):
            raise ValueError("its bytes are not those that were written")
        return tensors, header
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
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
