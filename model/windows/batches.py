"""Windows as the learner takes them: four tensors of one length, on one device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_contracts.skeleton import NUM_JOINTS
from model.network.lifting import SWAPPED_LIMBS, mirror


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

    @classmethod
    def empty(cls, count: int, window: int, pin: bool = False) -> "Batch":
        """Memory on the CPU for `count` windows, page-locked with `pin`, to be filled."""
        poses = (count, window, NUM_JOINTS, 3)
        shapes: tuple[tuple[int, ...], ...] = (poses, poses, (count, window), (count,))
        return cls(*(torch.empty(shape, pin_memory=pin) for shape in shapes))

    @classmethod
    def join(cls, batches: Sequence["Batch"]) -> "Batch":
        """One batch after the other; a single one as it is."""
        if len(batches) == 1:
            return batches[0]
        return cls(*(torch.cat(tensors) for tensors in zip(*map(_tensors, batches), strict=True)))

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, windows: slice) -> "Batch":
        """Views of consecutive windows."""
        return Batch(*(tensor[windows] for tensor in _tensors(self)))

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.pose_2d.shape[1]

    def select(self, index: Tensor) -> "Batch":
        """A copy of the windows at `index` (B,), on the same device."""
        return Batch(*(tensor.index_select(0, index) for tensor in _tensors(self)))

    def split(self, sizes: int | list[int]) -> list["Batch"]:
        """Views of consecutive windows, as `torch.split` cuts."""
        return [Batch(*tensors) for tensors in zip(*(tensor.split(sizes) for tensor in _tensors(self)), strict=True)]

    def to(self, device: torch.device) -> "Batch":
        """The same windows on `device`; from page-locked memory the caller does not wait for the copy."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in _tensors(self)))

    def with_mirror_images(self) -> "Batch":
        """The windows and, after them, the mirror image of each."""
        count = len(self)
        both = Batch(*(tensor.repeat(2, *[1] * (tensor.dim() - 1)) for tensor in _tensors(self)))
        for images in both[count:].split(1024):  # a few at a time: a copy is made of them
            images.mirror_(torch.ones(len(images), dtype=torch.bool, device=self.scale.device))
        return both

    def mirror_(self, chosen: Tensor) -> None:
        """Exchange left and right, in place, of the windows where `chosen` (B,) is true."""
        for pose in (self.pose_2d, self.pose_3d):
            if pose.is_cuda:  # to ask which are chosen would wait for the device
                pose.copy_(torch.where(chosen.view(-1, 1, 1, 1), mirror(pose), pose))
            else:
                _mirror_rows(pose.numpy(), chosen.nonzero()[:, 0].tolist())


def _mirror_rows(poses: np.ndarray, rows: list[int]) -> None:
    """`mirror` in place of some rows of (B, T, 17, 3), each in turn, so that it stays in the processor's cache.

    A leg or an arm of a frame (three joints, 36 bytes) moves as one element: 1.5 times as fast as slices of floats.
    """
    sign = _sign_of_mirror(poses.shape[1])
    negated = np.empty_like(sign)
    sources = _limbs(negated[None])
    targets = _limbs(poses)
    for row in rows:
        np.multiply(poses[row], sign, out=negated)
        poses[row] = negated
        for to, source in SWAPPED_LIMBS:
            targets[to][row] = sources[source][0]


@cache
def _sign_of_mirror(frames: int) -> np.ndarray:
    return np.tile(np.array([-1, 1, 1], dtype=np.float32), (frames, NUM_JOINTS, 1))


def _limbs(poses: np.ndarray) -> dict[int, np.ndarray]:
    """First joint -> the limbs (B, T) that begin with it, in the memory of contiguous `poses` (B, T, 17, 3)."""
    joint = poses.strides[2]
    return {
        to: np.ndarray(poses.shape[:2], np.dtype((np.void, 3 * joint)), poses, to * joint, poses.strides[:2])
        for to, _ in SWAPPED_LIMBS
    }


def _tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return batch.pose_2d, batch.pose_3d, batch.frame_weight, batch.scale
