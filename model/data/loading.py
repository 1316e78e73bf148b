"""Open a split of a windows folder: in memory if it fits, else streamed, with identical batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from data_contracts.machine import free_memory, local_processes
from model.data.batches import Batch
from model.data.files import WindowFiles
from model.data.streaming import StreamedWindows, mirrored_of, order_of, window_bytes

CPU = torch.device("cpu")


@dataclass
class WindowTensors(Batch):
    """One split in memory, on one device.

    `rows` has the scalar columns (window_id, clip_id, group, action, ...), `row_groups` the number of windows in each
    row group of the files.
    """

    rows: pd.DataFrame
    row_groups: list[int]

    def steps(self, seed: int, epoch: int, size: int, start_step: int = 0, flip: bool = False) -> Iterator[Batch]:
        """Iterate over copies of an epoch's windows from step `start_step` on, `size` at a time.

        `seed` and `epoch` determine the order (`model.data.streaming.shuffled_pools`) and, with `flip`, which half of
        the windows is mirrored (`mirrored_of`). Each window comes once; the last step may be smaller.
        """
        device = self.scale.device
        places = order_of(self.row_groups, self.window, seed, epoch).to(device).split(size)[start_step:]
        if not flip:
            return map(self.select, places)
        return map(
            self._select_mirrored, places, mirrored_of(len(self), seed, epoch).to(device).split(size)[start_step:]
        )

    def pick(self, index: Sequence[int]) -> Batch:
        """Return single windows by their place in `rows`."""
        return self.select(torch.tensor(index, device=self.scale.device))

    def _select_mirrored(self, index: Tensor, mirrored: Tensor) -> Batch:
        batch = self.select(index)
        batch.mirror_(mirrored)
        return batch


Windows = WindowTensors | StreamedWindows


def some_of(windows: Windows, places: Sequence[int]) -> WindowTensors:
    """Return the windows at these places in `rows`, in memory, as a separate split."""
    rows = windows.rows.iloc[list(places)].reset_index(drop=True)
    return WindowTensors(**vars(windows.pick(places)), rows=rows, row_groups=[len(rows)])


def load_windows(
    folder: Path,
    split: str,
    memory_gb: float | None = None,
    device: torch.device = CPU,
    placed: bool = False,
) -> Windows:
    """Open one split of a windows folder; batches are on `device`, with the windows' cameras if `placed`.

    Parameters
    ----------
    memory_gb
        Memory limit. A larger split is streamed (two pools of `streaming.POOL_BYTES` in memory); a smaller split is
        loaded to `device`. Default: half of the free memory of this machine and of `device`.

    Raises
    ------
    InputError
        The split is missing or empty, or a file is damaged or holds other columns than the window contract's.
    """
    files = WindowFiles(folder, split, placed)
    budget = free_bytes(device) / 2 if memory_gb is None else memory_gb * 1e9
    if len(files) * window_bytes(files.window, placed) > budget:
        return StreamedWindows(files, device)
    windows = files.read(range(len(files.row_groups))).to(device)
    return WindowTensors(**vars(windows), rows=files.rows, row_groups=files.row_groups)


def free_bytes(device: torch.device) -> int:
    """Return the free memory for this process: the lesser of this machine's and that of `device`.

    All processes of a run share the memory of the machine; each device has one process.
    """
    free = free_memory() // local_processes()
    return min(free, torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free
