"""Window data as tensors: a split is loaded once, a batch is one index operation on whichever device holds it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import torch
from torch import Tensor

from data_contracts.errors import InputError
from data_contracts.skeleton import MIRROR
from data_contracts.windows import SCALARS, split_files, to_numpy


@dataclass
class Batch:
    """Windows ready for the learner.

    pose_2d (B, T, 17, 3) normalised x, y, confidence; pose_3d (B, T, 17, 3) relative to the pelvis, normalised units;
    frame_weight (B, T), 0 for padding; scale (B,), normalised units per metre.
    """

    pose_2d: Tensor
    pose_3d: Tensor
    frame_weight: Tensor
    scale: Tensor


@dataclass
class WindowTensors:
    """One split in memory, on one device; `rows` keeps the scalar columns (window_id, clip_id, group, action, ...)."""

    pose_2d: Tensor
    pose_3d: Tensor
    frame_weight: Tensor
    scale: Tensor
    rows: pd.DataFrame

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.pose_2d.shape[1]

    def to(self, device: torch.device) -> "WindowTensors":
        """The same windows on `device`."""
        return WindowTensors(
            self.pose_2d.to(device),
            self.pose_3d.to(device),
            self.frame_weight.to(device),
            self.scale.to(device),
            self.rows,
        )

    def batch(self, index: Tensor | slice, mirrored: Tensor | None = None) -> Batch:
        """Windows at `index` (B,), those where `mirrored` (B,) is true with left and right exchanged."""
        batch = Batch(self.pose_2d[index], self.pose_3d[index], self.frame_weight[index], self.scale[index])
        if mirrored is not None:
            chosen = mirrored.view(-1, 1, 1, 1)
            batch.pose_2d = torch.where(chosen, mirror(batch.pose_2d), batch.pose_2d)
            batch.pose_3d = torch.where(chosen, mirror(batch.pose_3d), batch.pose_3d)
        return batch


def mirror(pose: Tensor) -> Tensor:
    """Left and right exchanged and x negated: (..., 17, D) in image or camera axes."""
    flipped = pose[..., list(MIRROR), :]
    flipped[..., 0] *= -1
    return flipped


def load_windows(folder: Path, split: str) -> WindowTensors:
    """One split of a windows folder as tensors on the CPU.

    Raises
    ------
    InputError
        The folder holds no windows of that split.
    """
    files = split_files(folder, split)
    if not files:
        raise InputError(f"{folder}: no windows in split {split!r}; is this the folder of a finished convert stage?")
    table = arrow.concat_tables(parquet.read_table(file, partitioning=None) for file in files)
    if not len(table):
        raise InputError(f"{folder}: split {split!r} is empty")
    scale = table.column("scale").to_numpy().astype(np.float32)
    pose_2d, pose_3d = (np.array(to_numpy(table, name)) for name in ("pose_2d", "pose_3d"))
    pose_3d *= scale[:, None, None, None]  # metres -> normalised units
    return WindowTensors(
        torch.from_numpy(pose_2d),
        torch.from_numpy(pose_3d),
        torch.from_numpy((pose_2d[..., 2] > 0).any(axis=-1).astype(np.float32)),
        torch.from_numpy(scale),
        table.select(list(SCALARS)).to_pandas(),
    )
