"""Open a split of a windows folder, in memory or streamed with equal batches, and yield the steps of its epochs.

Streaming reads pools of row groups. A thread reads the next pool while a pool is in use: at most two are in memory.
"""

import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from data_contracts.machine import free_memory, local_processes
from data_contracts.parameters import TrainingParameters
from model.data.batches import Batch
from model.data.files import WindowFiles
from model.data.seeding import (
    SAMPLED,
    Pool,
    generator_at,
    mirrored_of,
    order_of,
    pools_in_order,
    shuffled_pools,
    window_bytes,
)

CPU = torch.device("cpu")
SAMPLE = 512  # largest number of training windows that are scored


@dataclass
class WindowTensors(Batch):
    """One split in memory, on one device.

    `rows` has the scalar columns (window_id, clip_id, group, action, ...), `row_groups` the number of windows in each
    row group of the files.
    """

    rows: pd.DataFrame
    row_groups: list[int]

    def steps(self, seed: int, epoch: int, size: int, start_step: int = 0) -> Iterator[Batch]:
        """Iterate over copies of an epoch's windows from step `start_step` on, `size` at a time.

        Each window comes once, in the order of `shuffled_pools`; the last step may be smaller.
        """
        order = order_of(self.row_groups, self.window, seed, epoch).to(self.scale.device)
        return map(self.select, order.split(size)[start_step:])

    def pick(self, index: Sequence[int]) -> Batch:
        """Return the windows at positions `index` of `rows`."""
        return self.select(torch.tensor(index, device=self.scale.device))


class StreamedWindows:
    """One split on disk: yields the same batches as `WindowTensors`, on `device`."""

    def __init__(self, files: WindowFiles, device: torch.device) -> None:
        self._files, self._device = files, device
        self.window, self.rows, self.row_groups = files.window, files.rows, files.row_groups

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, seed: int, epoch: int, size: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the steps of an epoch; see `WindowTensors.steps`. Pools before `start_step` are not read."""
        pools, skip = shuffled_pools(self.row_groups, self.window, seed, epoch), start_step * size
        while pools and skip >= len(pools[0].order):
            skip -= len(pools.pop(0).order)
        if pools:
            pools[0] = Pool(pools[0].groups, pools[0].order[skip:])
        return self._stream(pools, size)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the windows in stored order, `size` at a time; see `Batch.batches`."""
        return self._stream(pools_in_order(self.row_groups, self.window), size)

    def pick(self, index: Sequence[int]) -> Batch:
        """Return the windows at positions `index` of `rows`; only their row groups are read."""
        return self._files.pick(index).to(self._device)

    def _stream(self, pools: list[Pool], size: int) -> Iterator[Batch]:
        """Yield batches of `size` windows, which may span two pools; the last batch may be smaller."""
        begun: list[Batch] = []
        with closing(_read_ahead(pools, self._read)) as loaded:
            for pool, windows in zip(pools, loaded, strict=True):
                windows, order = windows.to(self._device), pool.order.to(self._device)
                missing = size - sum(map(len, begun))
                for index in (order[:missing], *order[missing:].split(size)):
                    begun.append(windows.select(index))
                    if sum(map(len, begun)) == size:
                        batch, begun = Batch.join(begun), []
                        yield batch
        if any(map(len, begun)):
            yield Batch.join(begun)

    def _read(self, pool: Pool, stopped: Callable[[], bool]) -> Batch:
        return self._files.read(pool.groups, pin=self._device.type == "cuda", stopped=stopped)


Windows = WindowTensors | StreamedWindows


def some_of(windows: Windows, places: Sequence[int]) -> WindowTensors:
    """Return the windows at positions `places` of `rows`, in memory, as a separate split."""
    rows = windows.rows.iloc[list(places)].reset_index(drop=True)
    return WindowTensors(**vars(windows.pick(places)), rows=rows, row_groups=[len(rows)])


def load_windows(
    folder: Path, split: str, memory_gb: float | None = None, device: torch.device = CPU, placed: bool = False
) -> Windows:
    """Open one split of a windows folder; its batches are on `device`.

    Parameters
    ----------
    memory_gb
        Limit in GB (1e9 bytes). A larger split is streamed from its files; a smaller split is loaded to `device`.
        Default: half of this process's share of the free RAM or, if smaller, half of the free memory of the GPU.
    placed
        Also read the camera of each window.

    Raises
    ------
    InputError
        The split is missing or empty, or a file is damaged or lacks columns of the window contract.
    """
    files = WindowFiles(folder, split, placed)
    budget = free_bytes(device) / 2 if memory_gb is None else memory_gb * 1e9
    if len(files.rows) * window_bytes(files.window, placed) > budget:
        return StreamedWindows(files, device)
    windows = files.read(range(len(files.row_groups))).to(device)
    return WindowTensors(**vars(windows), rows=files.rows, row_groups=files.row_groups)


@dataclass
class TrainingWindows:
    """Windows of the training and validation split, opened for the device that trains."""

    train: Windows
    val: Windows

    def sampled(self) -> Tensor:
        """Return positions (n,) of the `train` windows that are scored in addition to `val`, spread evenly.

        Their number is the least of `SAMPLE`, the size of `val` and a twentieth of the training windows; at least 1.
        """
        count = max(1, min(SAMPLE, len(self.val), len(self.train) // 20))
        within = torch.rand(count, generator=generator_at("cpu", 0, 0, SAMPLED), dtype=torch.float64)
        return ((torch.arange(count) + within) * (len(self.train) / count)).long()


@dataclass
class Step:
    """Windows of an optimiser step, their positions (B,) in `rows`, and whether each (B,) is mirrored."""

    windows: Batch
    places: Tensor
    mirrored: Tensor | None


class Epochs:
    """Optimiser steps by epoch: every epoch has each training window once, in a random order."""

    def __init__(self, windows: TrainingWindows, parameters: TrainingParameters) -> None:
        self.train, self.seed, self.flip = windows.train, parameters.seed, parameters.flip
        self.size = parameters.batch_size * parameters.accumulate
        self.total = self.steps_before(parameters.max_epochs)

    def steps_before(self, epoch: int) -> int:
        """Return the number of optimiser steps in all epochs before `epoch`."""
        return epoch * math.ceil(len(self.train) / self.size)

    def steps(self, epoch: int, start_step: int, device: torch.device) -> Iterator[Step]:
        """Yield the steps of an epoch from `start_step` on, on `device`; `flip` mirrors half of the windows."""
        order = order_of(self.train.row_groups, self.train.window, self.seed, epoch)
        mirrored = mirrored_of(len(self.train), self.seed, epoch)
        places, flags = (every.to(device).split(self.size)[start_step:] for every in (order, mirrored))
        batches = self.train.steps(self.seed, epoch, self.size, start_step)
        for batch, at, flipped in zip(batches, places, flags, strict=True):
            if self.flip:
                batch.mirror_(flipped)
            yield Step(batch, at, flipped if self.flip else None)


def free_bytes(device: torch.device) -> int:
    """Return the free bytes for this process: its share of this machine's memory, or fewer if `device` has fewer."""
    free = free_memory() // local_processes()
    return min(free, torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free


def _read_ahead(pools: list[Pool], read: Callable[[Pool, Callable[[], bool]], Batch]) -> Generator[Batch, None, None]:
    """Yield the result of `read` for each pool; a thread reads one pool ahead and ends with this generator."""
    if not pools:
        return
    stopped = threading.Event()
    with ThreadPoolExecutor(1, "read-windows") as reader:
        try:
            ahead = reader.submit(read, pools[0], stopped.is_set)
            for following in (*pools[1:], None):
                windows = ahead.result()
                if following is not None:
                    ahead = reader.submit(read, following, stopped.is_set)
                yield windows
        finally:
            stopped.set()
