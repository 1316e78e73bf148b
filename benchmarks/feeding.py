"""Windows a second of `model.data.loading` against a torch DataLoader over one pickle per window.

    python -m benchmarks.feeding

Both give shuffled batches of 32 windows of 243 frames, `pose_2d` and `pose_3d` as float32 tensors, half of the windows
mirrored; same windows (synthetic motion), same run, page cache warm, on `--threads` torch threads, as many as there are
cores unless told. Each round runs one epoch of every way, one after the other; the best round of each counts.

- pickles, 0 and 2 workers: `Dataset.__getitem__` opens `{"input", "target"}` (float32 arrays), mirrors as MotionBERT's
  `flip_data` does, and wraps both without a copy; default collate, persistent workers;
- in memory, streamed: `steps`, as `model.training.loop.fit` is fed; if memory is short of room for mirror images, those
  of a batch are made when it is fed; `--pool-mib` is the size of a pool;
- the floor: as many bytes copied in the order they lie, 32 windows at a time, into memory that is there already.

The last line says how much memory streaming took at most beyond what the process had before.

2026-11-23, 2 CPU cores, Python 3.11.7, torch 2.13.0: pickles 6061 (0 workers) and 5347 (2 workers) windows/s, streamed
6365 (1.1x), in memory 104323 (17.2x; other runs: 19.0x, 20.0x), floor 113194 (18.7x); streaming 378 MiB in pools of 64
MiB took 174 MiB.
"""

import argparse
import copy
import itertools
import os
import pickle
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_contracts.parameters import Projection
from data_contracts.skeleton import LEFT_JOINTS, RIGHT_JOINTS
from data_contracts.windows import to_arrow
from model.data import streaming
from model.data.loading import Windows, WindowTensors, load_windows
from tasks.convert.cameras import draw_camera, project_windows, window_starts
from tasks.synthetic.motion import generate

WINDOW, STRIDE, BATCH = 243, 81, 32
ROW_GROUP_WINDOWS = 167  # as `tasks.convert.convert` writes them: 16 MiB


class Pickles(Dataset):
    """One pickle per window."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with self.files[index].open("rb") as file:
            window = pickle.load(file)
        pose_2d, pose_3d = window["input"], window["target"]
        if random.random() < 0.5:
            pose_2d, pose_3d = flip_data(pose_2d), flip_data(pose_3d)
        return torch.from_numpy(pose_2d), torch.from_numpy(pose_3d)


def flip_data(data: np.ndarray) -> np.ndarray:
    """As in github.com/Walter0807/MotionBERT, lib/utils/utils_data.py."""
    left, right = list(LEFT_JOINTS), list(RIGHT_JOINTS)
    flipped = copy.deepcopy(data)
    flipped[..., 0] *= -1
    flipped[..., left + right, :] = flipped[..., right + left, :]
    return flipped


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pool-mib", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    streaming.POOL_BYTES = options.pool_mib << 20
    with TemporaryDirectory() as folder:
        write_windows(Path(folder), options.windows)
        streamed, before = load_windows(Path(folder), "train", memory_gb=1e-9), resident_mib()
        peak_mib = max(resident_mib() for _ in ours(streamed, 0)) - before
        memory = load_windows(Path(folder), "train", memory_gb=1e9, flip=True)
        assert isinstance(memory, WindowTensors)
        short = replace(memory, both=None)
        dataset = Pickles(write_pickles(Path(folder), memory))
        alone = DataLoader(dataset, BATCH, shuffle=True)
        helped = DataLoader(dataset, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
        ways: dict[str, Callable[[int], Iterable]] = {
            "pickles, 0 workers": lambda _: alone,
            "pickles, 2 workers": lambda _: helped,
            "streamed": lambda epoch: ours(streamed, epoch),
            "in memory, short": lambda epoch: ours(short, epoch),
            "in memory": lambda epoch: ours(memory, epoch),
            "floor": lambda _: copies(memory),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for epoch in range(options.rounds + 1):  # the first one warms
            for way, batches in ways.items():
                rates[way].append(rate(batches(epoch)))
    best = {way: max(measured[1:]) for way, measured in rates.items()}
    pickles = max(best["pickles, 0 workers"], best["pickles, 2 workers"])
    print(f"{len(memory)} windows of {WINDOW} frames, {options.threads} torch threads, best of {options.rounds} rounds")
    print(f"{'':20} windows/s  ratio")
    for way, windows_per_s in best.items():
        print(f"{way:20} {windows_per_s:9.0f}  {windows_per_s / pickles:5.1f}")
    print(f"streaming {mebibytes(memory):.0f} MiB in pools of {options.pool_mib} MiB took {peak_mib:.0f} MiB of memory")


def ours(windows: Windows, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch as `model.training.loop.fit` is fed."""
    for batch in windows.steps(0, epoch, BATCH, flip=True):
        yield batch.pose_2d, batch.pose_3d


def copies(windows: WindowTensors) -> Iterator[tuple[Tensor, Tensor]]:
    """Every window's bytes copied as they lie, into memory that is there already."""
    pose_2d, pose_3d = torch.empty_like(windows.pose_2d[:BATCH]), torch.empty_like(windows.pose_3d[:BATCH])
    for some in windows.batches(BATCH):
        yield pose_2d[: len(some)].copy_(some.pose_2d), pose_3d[: len(some)].copy_(some.pose_3d)


def rate(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Windows a second."""
    started = time.perf_counter()
    count = sum(len(pose_2d) for pose_2d, _ in batches)
    return count / (time.perf_counter() - started)


def write_windows(folder: Path, count: int, window: int = WINDOW, stride: int = STRIDE) -> None:
    """A windows folder with a train split of `count` windows of synthetic motion."""
    (folder / "train").mkdir()
    clips, _ = generate(seed=0, people=6, seconds=12.0)
    for view in itertools.count():
        pieces = []
        for clip_id, clip in enumerate(clips):
            poses = clip.transpose(1, 0, 2).astype(np.float32)
            camera = draw_camera(poses, clip_id, view, 0, 15.0, Projection.ORTHOGRAPHIC)
            pieces.append(project_windows(poses, window_starts(len(poses), window, stride, True), window, camera))
        arrays = {name: np.concatenate([piece[name] for piece in pieces])[:count] for name in pieces[0]}
        scale = arrays.pop("scale")
        rows = pd.DataFrame({"window_id": [f"{view}-{row}" for row in range(len(scale))], "scale": scale})
        rows[["clip_id", "group", "action", "split", "camera", "start", "fps"]] = 0, "g", "a", "train", view, 0, 60.0
        rows[["projection", "yaw_deg", "pitch_deg"]] = "orthographic", camera.yaw_deg, camera.pitch_deg
        file = folder / "train" / f"part-{view:05d}.parquet"
        parquet.write_table(to_arrow(rows, arrays), file, compression="none", row_group_size=ROW_GROUP_WINDOWS)
        count -= len(scale)
        if not count:
            return


def write_pickles(folder: Path, windows: WindowTensors) -> list[Path]:
    """The same windows, one file each."""
    files = [folder / f"{number:05d}.pkl" for number in range(len(windows))]
    for file, pose_2d, pose_3d in zip(files, windows.pose_2d, windows.pose_3d, strict=True):
        file.write_bytes(pickle.dumps({"input": pose_2d.numpy(), "target": pose_3d.numpy()}, pickle.HIGHEST_PROTOCOL))
    return files


def mebibytes(windows: Windows) -> float:
    """Size of the poses."""
    return len(windows) * streaming.window_bytes(WINDOW) / 2**20


def resident_mib() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
