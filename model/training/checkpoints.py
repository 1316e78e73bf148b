"""Checkpoints: safetensors files with the network's configuration as JSON in the header.

Nothing is unpickled. A file is written under a temporary name and renamed, so a killed run leaves the previous file. A
digest in the header detects damage. `model.safetensors` in a run folder is the best network; `last.safetensors`
also holds the optimiser and `Progress`. Published MotionBERT checkpoints (`.bin`) are read as they are.
"""

import hashlib
import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from data_contracts.errors import InputError
from data_contracts.parameters import HeadKind, NetworkConfig
from data_contracts.store.folders import CHECKPOINT_FILE
from model.network.motionbert import fill, load_motionbert
from model.network.network import PoseNetwork

LAST_FILE, BEFORE_LAST_FILE = "last.safetensors", "before-last.safetensors"
_NETWORK, _OPTIMISER = "network.", "optimiser."
_HEADER = "pose_uplift"
_LOG = logging.getLogger(__name__)


def save_network(path: Path, network: PoseNetwork, about: dict[str, Any]) -> None:
    """Write weights, configuration and `about` (epoch, metrics, ...: any JSON) to `path`, atomically."""
    _write(path, _network_tensors(network), network, about).replace(path)


def load_network(path: Path) -> PoseNetwork:
    """Return the network of a checkpoint file, on the CPU, in eval mode; `.bin` is a published MotionBERT checkpoint.

    Raises
    ------
    InputError
        The file is missing or damaged, or a tensor of the network is missing or has a wrong shape.
    """
    if path.suffix == ".bin":
        return load_motionbert(path)
    tensors, header = _load(path)
    header["config"].pop("dropout", None)  # checkpoints of contract version 9 and before have it
    network = PoseNetwork(NetworkConfig.model_validate(header["config"]), HeadKind(header["head"]))
    _fill(network, tensors, path)
    return network.eval()


def read_about(path: Path) -> dict[str, Any]:
    """Return the `about` that `save_network` wrote to a checkpoint; empty for a published MotionBERT checkpoint."""
    if path.suffix == ".bin":
        return {}
    return _load(path)[1]["about"]


def save_last(folder: Path, network: PoseNetwork, optimiser: Optimizer, state: dict[str, Any]) -> None:
    """Write weights, optimiser tensors and `state` (JSON), and keep the previous file as `before-last.safetensors`."""
    tensors = _network_tensors(network)
    for index, entries in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}.{name}": value.contiguous() for name, value in entries.items()}
    last = folder / LAST_FILE
    written = _write(last, tensors, network, state)
    if last.is_file():
        last.replace(folder / BEFORE_LAST_FILE)
    written.replace(last)


def load_last(folder: Path, network: nn.Module, optimiser: Optimizer) -> dict[str, Any] | None:
    """Restore network and optimiser from the newest undamaged file of `save_last`; return its `state`, or None.

    A file whose tensors do not fit the network raises an InputError.
    """
    last = _load_newest_last(folder)
    if last is None:
        return None
    path, tensors, header = last
    _fill(network, tensors, path)
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMISER):
            index, name = key.removeprefix(_OPTIMISER).split(".", 1)
            entries.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    return header["about"]


def can_resume(folder: Path) -> bool:
    """Return whether the folder contains an undamaged `last.safetensors` or `before-last.safetensors`."""
    return _load_newest_last(folder) is not None


@dataclass
class Progress:
    """State of the training loop, stored as JSON in `last.safetensors`."""

    epoch: int = 0
    step: int = 0  # finished optimiser steps of this epoch
    loss_sum: float = 0.0  # over the windows of this epoch so far, without bad steps
    counted: int = 0  # number of these windows
    best: float = math.inf
    stale_epochs: int = 0
    bad_steps: int = 0
    micro_batch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    top: list[tuple[float, int]] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=dict)

    def enter(self, record: dict[str, float], keep_top: int) -> None:
        """Add an epoch to the history and, if it is among the `keep_top` best, to `top`."""
        self.history.append(record)
        score = record["val_mpjpe_mm"]
        self.stale_epochs = 0 if score < self.best else self.stale_epochs + 1
        self.best = min(self.best, score)
        self.top = sorted([*((best, at) for best, at in self.top), (score, int(record["epoch"]))])[:keep_top]


def keep(
    folder: Path, network: PoseNetwork, progress: Progress, checkpoint_every: int | None, learned_on: dict[str, float]
) -> None:
    """Save the weights of the last epoch if it is the best, among the top k, or due by `checkpoint_every`.

    `learned_on` has `window` and `fps` of the training windows. Top-k files of other epochs are deleted.
    """
    record = progress.history[-1] | learned_on
    epoch = int(record["epoch"])
    if progress.stale_epochs == 0:
        save_network(folder / CHECKPOINT_FILE, network, record)
    if checkpoint_every and epoch % checkpoint_every == 0:
        save_network(folder / f"epoch-{epoch:04d}.safetensors", network, record)
    if epoch in (at for _, at in progress.top):
        save_network(top_file(folder, epoch), network, record)
    kept = {top_file(folder, at) for _, at in progress.top}
    for file in set(folder.glob("top-epoch-*.safetensors")) - kept:
        file.unlink()


def top_file(folder: Path, epoch: int) -> Path:
    """Return the file for the weights of `epoch` while the epoch is among the best."""
    return folder / f"top-epoch-{epoch:04d}.safetensors"


def _load_newest_last(folder: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
    for path in (folder / LAST_FILE, folder / BEFORE_LAST_FILE):
        if path.is_file():
            try:
                return path, *_load(path)
            except InputError as error:
                _LOG.warning("%s: is damaged (%s); an older checkpoint is used, if any", path, error.__cause__)
    return None


def _network_tensors(network: nn.Module) -> dict[str, Tensor]:
    return {_NETWORK + name: value.detach().contiguous() for name, value in network.state_dict().items()}


def _write(path: Path, tensors: dict[str, Tensor], network: PoseNetwork, about: dict[str, Any]) -> Path:
    header = {"config": network.config.model_dump(mode="json"), "head": network.head_kind, "about": about}
    header["digest"] = _digest(tensors, json.dumps(header))
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata={_HEADER: json.dumps(header)})  # one entry: the order of two varies
    return temporary


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    """Return the SHA-256 of the header and, sorted by name, of every tensor's bytes."""
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
            raise ValueError("the digest does not match")
        return tensors, header
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not a readable checkpoint of this project ({error}); pass another file or train again"
        ) from error


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    weights = {key.removeprefix(_NETWORK): value for key, value in tensors.items() if key.startswith(_NETWORK)}
    fill(network, weights, path)
