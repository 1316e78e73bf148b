"""Stream windows that do not fit in memory: a thread reads the next pool while the current one is in use.

- A pool is the unit of shuffling, also for windows in memory (`loading`): row groups in random order, cut into pools of
  up to `POOL_BYTES`, and the rows of each pool in random order. So the memory limit does not change results.
- At most two pools are in memory.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from data_contracts.skeleton import NUM_JOINTS
from model.data.batches import Batch
from model.data.files import WindowFiles
from model.data.seeding import MIRRORED, ORDER, generator_at

POOL_BYTES = 512 << 20


@dataclass(frozen=True)
class Pool:
    """Row groups that are in memory together, and the order (n,) in which their concatenated rows are used."""

    groups: list[int]
    order: Tensor


def pools_in_order(row_groups: Sequence[int], window: int) -> list[Pool]:
    """Return pools of all rows in stored order; `row_groups`: rows of each group; `window`: frames of a row."""
    return [
        Pool(groups, torch.arange(sum(row_groups[group] for group in groups)))
        for groups in _cut(range(len(row_groups)), row_groups, window)
    ]


def shuffled_pools(row_groups: Sequence[int], window: int, seed: int, epoch: int) -> list[Pool]:
    """Return pools with every row once, in an order determined by (seed, epoch), the row groups and `POOL_BYTES`."""
    draws = generator_at("cpu", seed, epoch, ORDER)
    cut = _cut(range(len(row_groups)), row_groups, window)
    if len(cut) > 1:
        cut = _cut(torch.randperm(len(row_groups), generator=draws).tolist(), row_groups, window)
    return [Pool(groups, torch.randperm(sum(row_groups[g] for g in groups), generator=draws)) for groups in cut]


def order_of(row_groups: Sequence[int], window: int, seed: int, epoch: int) -> Tensor:
    """Return the places of all rows in the order of `shuffled_pools`."""
    rows = torch.arange(sum(row_groups)).split(list(row_groups))
    pools = shuffled_pools(row_groups, window, seed, epoch)
    return torch.cat([torch.cat([rows[group] for group in pool.groups])[pool.order] for pool in pools])


def mirrored_of(count: int, seed: int, epoch: int) -> Tensor:
    """Draw for each of `count` windows, in the order of use, whether it is mirrored: half of them are."""
    return torch.rand(count, generator=generator_at("cpu", seed, epoch, MIRRORED)) < 0.5


def window_bytes(window: int, placed: bool = False) -> int:
    """Return the bytes of the poses of one window of `window` frames, and with `placed` of its root trajectory."""
    return 4 * window * (2 * NUM_JOINTS * 3 + 3 * placed)


class StreamedWindows:
    """One split on disk, fed to `device` in the same batches as `model.data.loading.WindowTensors`."""

    def __init__(self, files: WindowFiles, device: torch.device) -> None:
        self._files, self._device = files, device
        self.window: int = files.window
        self.rows: pd.DataFrame = files.rows

    def __len__(self) -> int:
        return len(self._files)

    @property
    def row_groups(self) -> list[int]:
        """Windows of each row group, in the order of the files."""
        return self._files.row_groups

    def steps(self, seed: int, epoch: int, size: int, start_step: int = 0, flip: bool = False) -> Iterator[Batch]:
        """As `WindowTensors.steps`; pools that lie before `start_step` are not read."""
        pools, skip = shuffled_pools(self.row_groups, self.window, seed, epoch), start_step * size
        while pools and skip >= len(pools[0].order):
            skip -= len(pools.pop(0).order)
        if pools:
            pools[0] = Pool(pools[0].groups, pools[0].order[skip:])
        mirrored = mirrored_of(len(self), seed, epoch).to(self._device).split(size)[start_step:] if flip else None
        return self._stream(pools, size, mirrored)

    def batches(self, size: int) -> Iterator[Batch]:
        """Iterate like `Batch.batches`."""
        return self._stream(pools_in_order(self.row_groups, self.window), size)

    def pick(self, index: Sequence[int]) -> Batch:
        """Return windows like `WindowTensors.pick`; reads only the row groups of these windows."""
        return self._files.pick(index).to(self._device)

    def _stream(self, pools: list[Pool], size: int, mirrored: Sequence[Tensor] | None = None) -> Iterator[Batch]:
        """Yield batches of `size` windows across the borders of pools; the last batch may be smaller."""
        begun: list[Batch] = []
        chosen = iter(mirrored or ())

        def finished() -> Batch:
            batch = Batch.join(begun)
            if mirrored is not None:
                batch.mirror_(next(chosen))
            return batch

        with closing(_read_ahead(pools, self._read)) as loaded:
            for pool, windows in zip(pools, loaded, strict=True):
                windows, order = windows.to(self._device), pool.order.to(self._device)
                missing = size - sum(map(len, begun))
                for index in (order[:missing], *order[missing:].split(size)):
                    begun.append(windows.select(index))
                    if sum(map(len, begun)) == size:
                        batch, begun = finished(), []
                        yield batch
        if any(map(len, begun)):
            yield finished()

    def _read(self, pool: Pool, stopped: Callable[[], bool]) -> Batch:
        return self._files.read(pool.groups, pin=self._device.type == "cuda", stopped=stopped)


def _read_ahead(pools: list[Pool], read: Callable[[Pool, Callable[[], bool]], Batch]) -> Generator[Batch, None, None]:
    """Yield `read` of each pool, computed by a thread that is one pool ahead and ends with this generator."""
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


def _cut(groups: Iterable[int], row_groups: Sequence[int], window: int) -> list[list[int]]:
    """Split `groups`, in their order, into pools of at most `POOL_BYTES`."""
    cut: list[list[int]] = []
    room = 0
    for group in groups:
        size = row_groups[group] * window_bytes(window)
        if not cut or size > room:
            cut.append([])
            room = POOL_BYTES
        cut[-1].append(group)
        room -= size
    return cut
