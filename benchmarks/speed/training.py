"""Speed of batches, augmentation, the network, and training on a frozen backbone."""

import argparse
import copy
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed.timing import in_turn, make_windows, print_rates
from data_contracts.parameters import (
    FinetuneParameters,
    HeadKind,
    NetworkConfig,
    Objective,
    Runtime,
)
from data_contracts.parameters.presets import load_preset
from data_contracts.skeleton import LEFT_JOINTS, RIGHT_JOINTS
from model.data.loading import TrainingWindows, load_windows, some_of
from model.network.network import PoseNetwork
from model.training.loop import build_network, fit
from tests.model.network.eager_dstformer import EagerDSTformer

BATCH = 32
TOLERANCE = 1e-5
FRAMES = 10  # of a window of `frozen`
SMALL = NetworkConfig(embed_dim=64, heads=8, fusion_depth=2, mlp_ratio=4)
SIZES = {"embed 64, 10 frames": (SMALL, 10, 32), "embed 64, 243 frames": (SMALL, 243, 2)}


class Pickles(Dataset):
    """One pickle file per window; half of the windows are mirrored, as in MotionBERT's lib/utils/utils_data.py."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with self.files[index].open("rb") as file:
            poses = pickle.load(file)
        if random.random() < 0.5:
            poses = [mirrored(pose) for pose in poses]
        return torch.from_numpy(poses[0]), torch.from_numpy(poses[1])


def mirrored(pose: np.ndarray) -> np.ndarray:
    """Return a pose (frames, 17, 3) with x negated and left and right exchanged."""
    left, right = list(LEFT_JOINTS), list(RIGHT_JOINTS)
    flipped = copy.deepcopy(pose)
    flipped[..., 0] *= -1
    flipped[..., left + right, :] = flipped[..., right + left, :]
    return flipped


def feeding(options: argparse.Namespace) -> None:
    """Compare batches from memory and from disk with a DataLoader over one pickle per window.

    These four ways give shuffled batches of 32 windows of 243 frames, half of them mirrored. A fifth way only copies as
    many bytes.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        lengths = ("synthetic.seconds=12", "convert.window=243", "convert.stride=81", "convert.train_views=9")
        windows = make_windows(Path(name) / "store", *lengths)
        memory = load_windows(windows, "train", memory_gb=1e9)
        streamed = load_windows(windows, "train", memory_gb=1e-9)
        count = len(memory)
        files = [Path(name) / f"{number:05d}.pkl" for number in range(count)]
        for file, pose_2d, pose_3d in zip(files, memory.pose_2d, memory.pose_3d, strict=True):
            file.write_bytes(pickle.dumps((pose_2d.numpy(), pose_3d.numpy()), pickle.HIGHEST_PROTOCOL))
        alone = DataLoader(Pickles(files), BATCH, shuffle=True)
        helped = DataLoader(Pickles(files), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
        copies = [torch.empty_like(poses[:BATCH]) for poses in (memory.pose_2d, memory.pose_3d)]
        ways: dict[str, Callable[[], object]] = {
            "pickles, 0 workers": lambda: exhaust(alone),
            "pickles, 2 workers": lambda: exhaust(helped),
            "streamed from disk": lambda: exhaust(streamed.steps(0, 0, BATCH)),
            "in memory": lambda: exhaust(memory.steps(0, 0, BATCH)),
            "copy of as many bytes": lambda: [
                (copies[0][: len(one)].copy_(one.pose_2d), copies[1][: len(one)].copy_(one.pose_3d))
                for one in memory.batches(BATCH)
            ],
        }
        print_rates("  windows of 243 frames", in_turn(ways, options.rounds), count, "windows")


def exhaust(batches: Iterable) -> None:
    """Iterate over all batches."""
    for _ in batches:
        pass


def network(options: argparse.Namespace) -> None:
    """Compare the DSTformer with the same network in eager PyTorch and the same weights (CPU time, one thread)."""
    torch.manual_seed(0)
    for name, (config, frames, batch) in SIZES.items():
        pose_2d = torch.randn(batch, frames, 17, 3)
        ours, eager = PoseNetwork(config), EagerDSTformer(config)
        eager.load_state_dict(ours.state_dict())
        with torch.no_grad():
            if (off := float((ours(pose_2d) - eager(pose_2d)).abs().max())) >= TOLERANCE:
                raise SystemExit(f"{name}: outputs differ by {off:.1e}")
        rows = {"eager, float32": (eager, False), "float32": (ours, False), "bfloat16 autocast": (ours, True)}
        ways = {row: partial(forward, module, pose_2d, autocast) for row, (module, autocast) in rows.items()}
        print_rates(f"  {name}: forward", in_turn(ways, options.rounds, time.process_time), batch, "windows")


@torch.no_grad()
def forward(module: nn.Module, pose_2d: Tensor, autocast: bool) -> None:
    """Run a forward pass without gradient."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        module(pose_2d)


def frozen(options: argparse.Namespace) -> None:
    """Compare fine-tuning on cached features of a frozen backbone with running this backbone in every step.

    The network is that of the preset `seed`; the benchmark ends with an error if the losses of both differ.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        windows = make_windows(Path(folder), f"convert.window={FRAMES}", f"convert.stride={FRAMES}")
        train, val = load_windows(windows, "train"), some_of(load_windows(windows, "val"), range(8))
        epochs = {features: fine_tune(TrainingWindows(train, val), features) for features in ("off", "auto")}
    off = max(abs(a - b) for (a, _), (b, _) in zip(*epochs.values(), strict=True))
    if off >= TOLERANCE:
        raise SystemExit(f"losses with and without the cache differ by {off:.1e}; expected less than {TOLERANCE:g}")
    seconds = {name: min(taken for _, taken in measured[1:]) for name, measured in epochs.items()}
    print_rates(
        "  epochs after the first", {"every step": seconds["off"], "cached": seconds["auto"]}, len(train), "windows"
    )


class Enough(Exception):
    """Ends a training after the requested number of epochs."""


def fine_tune(windows: TrainingWindows, features: str, epochs: int = 3) -> list[tuple[float, float]]:
    """Return loss and seconds of each epoch of fine-tuning a depth head."""
    config = load_preset("seed").pretrain.network.model_copy(update={"dim_out": 3, "max_frames": FRAMES})
    module = build_network(lambda: PoseNetwork(config, HeadKind.DEPTH), 0)
    module.backbone.requires_grad_(False)
    parameters = FinetuneParameters(batch_size=128, max_epochs=50, patience=50, flip=True, head=HeadKind.DEPTH)
    measured, times = [], [time.perf_counter()]

    def on_epoch(record: dict[str, float]) -> None:
        times.append(time.perf_counter())
        measured.append((record["loss"], times[-1] - times[-2]))
        if len(measured) == epochs:
            raise Enough

    def on_step(step: int, steps: int) -> None:
        """Ignore steps."""

    fabric, runtime = Fabric(accelerator="cpu", devices=1), Runtime(features=features)
    with tempfile.TemporaryDirectory() as run, suppress(Enough):
        fit(module, windows, parameters, Objective.LIFT, Path(run), fabric, runtime, on_epoch, on_step)
    return measured
