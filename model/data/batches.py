"""Batches of windows: tensors of equal length on one device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from data_contracts.skeleton import NUM_JOINTS
from model.poses import mirror


@dataclass
class Batch:
    """Windows on one device, ready for training.

    pose_2d (B, T, 17, 3) normalised x, y, confidence; pose_3d (B, T, 17, 3) relative to the pelvis, normalised units;
    frame_weight (B, T), 0 for padding; scale (B,), normalised units per metre. With cameras (`placed`), only for
    augmentation: root_3d (B, T, 3), the pelvis in camera axes, metres; pitch_deg and roll_deg (B,), of the camera;
    perspective (B,) bool, else orthographic.
    """

    pose_2d: Tensor
    pose_3d: Tensor
    frame_weight: Tensor
    scale: Tensor
    root_3d: Tensor | None = field(default=None, kw_only=True)
    pitch_deg: Tensor | None = field(default=None, kw_only=True)
    roll_deg: Tensor | None = field(default=None, kw_only=True)
    perspective: Tensor | None = field(default=None, kw_only=True)

    @classmethod
    def empty(cls, count: int, window: int, pin: bool = False, placed: bool = False) -> "Batch":
        """Allocate `count` windows on the CPU, uninitialised; with `pin` page-locked, with `placed` also cameras."""
        poses = (count, window, NUM_JOINTS, 3)
        shapes: dict[str, tuple[int, ...]] = {
            "pose_2d": poses,
            "pose_3d": poses,
            "frame_weight": (count, window),
            "scale": (count,),
        }
        if placed:
            shapes |= {
                "root_3d": (count, window, 3),
                "pitch_deg": (count,),
                "roll_deg": (count,),
                "perspective": (count,),
            }
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
        return self._each(lambda tensor: tensor[windows])

    @property
    def window(self) -> int:
        """Number of frames of each window."""
        return self.pose_2d.shape[1]

    def select(self, index: Tensor) -> "Batch":
        """Return a copy of the windows at `index` (B,), on the same device."""
        return self._each(lambda tensor: tensor.index_select(0, index))

    def split(self, sizes: int | list[int]) -> list["Batch"]:
        """Return batches of consecutive windows, as views; `sizes` as for `torch.split`."""
        names, tensors = self._tensors().keys(), self._tensors().values()
        pieces = zip(*(tensor.split(sizes) for tensor in tensors), strict=True)
        return [Batch(**dict(zip(names, piece, strict=True))) for piece in pieces]

    def batches(self, size: int) -> Iterator["Batch"]:
        """Iterate over all windows in stored order, `size` at a time (the last batch may be smaller)."""
        return iter(self.split(size))

    def to(self, device: torch.device) -> "Batch":
        """Return the windows on `device`; copies from page-locked memory are asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def mirror_(self, chosen: Tensor) -> None:
        """Mirror the windows where `chosen` (B,) is true, in place."""
        for pose in (self.pose_2d, self.pose_3d):
            if pose.is_cuda:  # an index would synchronise with the device
                pose.copy_(torch.where(chosen.view(-1, 1, 1, 1), mirror(pose), pose))
            else:
                pose[chosen] = mirror(pose[chosen])
        sign = 1 - 2 * chosen.to(self.scale)  # (B,)
        if self.root_3d is not None:
            self.root_3d[..., 0] *= sign[:, None]
        if self.roll_deg is not None:
            self.roll_deg *= sign

    def _tensors(self) -> dict[str, Tensor]:
        values = {of_batch.name: getattr(self, of_batch.name) for of_batch in fields(Batch)}
        return {name: value for name, value in values.items() if value is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(**{name: change(tensor) for name, tensor in self._tensors().items()})
