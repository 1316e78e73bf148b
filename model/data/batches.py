"""Batches of windows: tensors of equal length on one device.

The camera of each window (`placed`) is included only for augmentation, which projects windows again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_contracts.skeleton import NUM_JOINTS
from model.poses import SWAPPED_LIMBS, mirror


@dataclass
class Batch:
    """Windows ready for the learner.

    pose_2d (B, T, 17, 3) normalised x, y, confidence; pose_3d (B, T, 17, 3) relative to the pelvis, normalised units;
    frame_weight (B, T), 0 for padding; scale (B,), normalised units per metre. With cameras: root_3d (B, T, 3), the
    pelvis in camera axes, metres; pitch_deg (B,), downward pitch of the camera; perspective (B,) bool, else
    orthographic.
    """

    pose_2d: Tensor
    pose_3d: Tensor
    frame_weight: Tensor
    scale: Tensor
    root_3d: Tensor | None = field(default=None, kw_only=True)
    pitch_deg: Tensor | None = field(default=None, kw_only=True)
    perspective: Tensor | None = field(default=None, kw_only=True)

    @classmethod
    def empty(cls, count: int, window: int, pin: bool = False, placed: bool = False) -> "Batch":
        """Allocate memory on the CPU for `count` windows, page-locked with `pin`."""
        poses = (count, window, NUM_JOINTS, 3)
        shapes: dict[str, tuple[int, ...]] = {
            "pose_2d": poses,
            "pose_3d": poses,
            "frame_weight": (count, window),
            "scale": (count,),
        }
        if placed:
            shapes |= {"root_3d": (count, window, 3), "pitch_deg": (count,), "perspective": (count,)}
        kinds = {"perspective": torch.bool}
        return cls(**{n: torch.empty(shape, dtype=kinds.get(n), pin_memory=pin) for n, shape in shapes.items()})

    @classmethod
    def join(cls, batches: Sequence["Batch"]) -> "Batch":
        """Concatenate batches; a single batch is returned unchanged."""
        if len(batches) == 1:
            return batches[0]
        return cls(**{name: torch.cat([batch._tensors()[name] for batch in batches]) for name in batches[0]._tensors()})

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, windows: slice) -> "Batch":
        """Return views of consecutive windows."""
        return self._each(lambda tensor: tensor[windows])

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.pose_2d.shape[1]

    def select(self, index: Tensor) -> "Batch":
        """Return a copy of the windows at `index` (B,), on the same device."""
        return self._each(lambda tensor: tensor.index_select(0, index))

    def split(self, sizes: int | list[int]) -> list["Batch"]:
        """Return views of consecutive windows, split as by `torch.split`."""
        names, tensors = self._tensors().keys(), self._tensors().values()
        pieces = zip(*(tensor.split(sizes) for tensor in tensors), strict=True)
        return [Batch(**dict(zip(names, piece, strict=True))) for piece in pieces]

    def batches(self, size: int) -> Iterator["Batch"]:
        """Iterate over all windows in stored order, `size` at a time (the last batch may be smaller)."""
        return iter(self.split(size))

    def to(self, device: torch.device) -> "Batch":
        """Return the windows on `device`; copies from page-locked memory are asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def with_mirror_images(self) -> "Batch":
        """Return the windows followed by the mirror image of each."""
        count = len(self)
        both = self._each(lambda tensor: tensor.repeat(2, *[1] * (tensor.dim() - 1)))
        for images in both[count:].split(1024):  # in parts, because each part is copied
            images.mirror_(torch.ones(len(images), dtype=torch.bool, device=self.scale.device))
        return both

    def mirror_(self, chosen: Tensor) -> None:
        """Mirror the windows where `chosen` (B,) is true, in place."""
        for pose in (self.pose_2d, self.pose_3d):
            if pose.is_cuda:  # reading `chosen` would synchronise with the device
                pose.copy_(torch.where(chosen.view(-1, 1, 1, 1), mirror(pose), pose))
            else:
                _mirror_rows(pose.numpy(), chosen.nonzero()[:, 0].tolist())
        if self.root_3d is not None:
            self.root_3d[..., 0] *= 1 - 2 * chosen.to(self.root_3d)[:, None]

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor for name in _FIELDS if (tensor := getattr(self, name)) is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(**{name: change(tensor) for name, tensor in self._tensors().items()})


_FIELDS = tuple(of_batch.name for of_batch in fields(Batch))


def _mirror_rows(poses: np.ndarray, rows: list[int]) -> None:
    """Mirror some rows of (B, T, 17, 3) in place, one after the other, so that each stays in the processor's cache.

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
    """Map the first joint of each limb to views (B, T) of that limb in contiguous `poses` (B, T, 17, 3)."""
    joint = poses.strides[2]
    return {
        to: np.ndarray(poses.shape[:2], np.dtype((np.void, 3 * joint)), poses, to * joint, poses.strides[:2])
        for to, _ in SWAPPED_LIMBS
    }
