"""Depth from foreshortening: a bone that appears shorter than its length points towards or away from the camera.

Taylor, "Reconstruction of articulated objects from point correspondences in a single uncalibrated image", CVIU 80
(2000): under a scaled orthographic camera the ends of a bone with length l and apparent length s differ in depth by
± sqrt(l^2 - s^2), the reach of the bone. Geometry provides the size of the reach, and the network learns the sign.

- A window is relative to its pelvis and in units of the body, so place and size in the image do not matter.
- The length of a bone is the largest apparent length of the left or right bone, and at least an adult's length times
  a learned factor. Because of noise, the tenth of the frames with the largest lengths is left out.
- A joint of confidence 0 is missing, and its bones are not measured. Its position is interpolated over time. A joint
  that was never detected is at the centre of the other joints.
- The head returns x, y, z and, per bone, the signed share of its reach.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_contracts.skeleton import ADULT_BONES_M, BONES, MIRROR, PELVIS
from model.poses import bone_chains

LEFT_OUT = 10  # one of so many frames is left out: the frame with the largest apparent length
LONGEST = 4096  # largest convert.window, frames
_SMALLEST = 1e-2  # smallest body size, used if nothing was measured
_SEEN = 1e-10  # smallest squared length that counts as measured
_SOFT = 1e-5  # added to a squared reach (3 mm), so that the root has a gradient at 0


class View(NamedTuple):
    """Network inputs of a window.

    inputs (B, T, 17, 4): x, y relative to the pelvis, confidence, reach of the joint's bone, in units of the body; x, y
    of the pelvis are its path minus the mean. flat (B, T, 17, 2): x, y relative to the pelvis in the window's units.
    reach (B, T, 16) in units of the body. size (B, 1, 1, 1): window units per body unit.
    """

    inputs: Tensor
    flat: Tensor
    reach: Tensor
    size: Tensor


class Foreshortening(nn.Module):
    """Compute the network inputs of a window (`forward`), and convert the output of a head to poses (`pose`)."""

    parents: Tensor
    other_side: Tensor
    metres: Tensor
    chain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lengths = nn.Parameter(torch.ones(len(BONES)))
        self.register_buffer("parents", torch.tensor([parent for parent, _ in BONES]), persistent=False)
        self.register_buffer("other_side", torch.tensor([MIRROR[child] - 1 for _, child in BONES]), persistent=False)
        self.register_buffer("metres", torch.tensor(ADULT_BONES_M), persistent=False)
        self.register_buffer("chain", bone_chains(), persistent=False)

    def forward(self, pose_2d: Tensor) -> View:
        """Return the network inputs of a window (B, T, 17, 3): x, y, confidence, in any units."""
        with torch.autocast(pose_2d.device.type, enabled=False):
            xy, confidence = pose_2d.float()[..., :2], pose_2d.float()[..., 2:3]
            seen = confidence[..., 0] > 0  # (B, T, 17)
            xy = _interpolated(xy, seen)
            bones = xy[:, :, 1:] - xy.index_select(2, self.parents)
            looks = bones[..., 0].square() + bones[..., 1].square()  # (B, T, 16); vector_norm takes 4 times as long
            measured = seen[:, :, 1:] & seen.index_select(2, self.parents)
            at = 1 + looks.shape[1] // LEFT_OUT
            longest = torch.where(measured, looks, 0).topk(at, dim=1).values[:, -1:]  # (B, 1, 16)
            size = self._size(longest)
            path = xy[:, :, PELVIS : PELVIS + 1]
            flat = xy - path
            reach = self._reach(looks / size[..., 0].square(), longest / size[..., 0].square())
            relative = torch.cat((path - _mean_seen(path, seen[:, :, PELVIS]), flat[:, :, 1:]), dim=2) / size
            of_joints = nn.functional.pad(reach, (1, 0))[..., None]
            return View(torch.cat((relative, confidence, of_joints), dim=-1), flat, reach, size)

    def pose(self, out: Tensor, view: View) -> Tensor:
        """Return poses (B, T, 17, 3) in window units; `out` (B, T, 17, 4): x, y, z in body units, share of reach."""
        with torch.autocast(out.device.type, enabled=False):
            out = out.float()
            depth = (out[:, :, 1:, 3] * view.reach) @ self.chain  # (B, T, 17)
            z = (out[..., 2] + depth)[..., None] * view.size
            return torch.cat((out[..., :2] * view.size + view.flat, z), dim=-1)

    def _size(self, longest: Tensor) -> Tensor:
        counted = (longest > _SEEN).float()
        lengths = (longest + _SEEN / 100).sqrt() * counted
        size = lengths.sum(dim=-1) / (counted * self.metres).sum(dim=-1).clamp_min(1e-6)  # (B, 1)
        return size.clamp_min(_SMALLEST)[..., None, None]

    def _reach(self, looks: Tensor, longest: Tensor) -> Tensor:
        longest = torch.maximum(longest, longest.index_select(2, self.other_side))
        factors = (self.lengths + self.lengths.index_select(0, self.other_side)) / 2
        length = torch.maximum(longest, (factors * self.metres).square())
        return ((length - looks).clamp_min(0) + _SOFT).sqrt()


def _interpolated(xy: Tensor, seen: Tensor) -> Tensor:
    """Return joints (B, T, 17, 2) with missing joints interpolated over time; `seen` (B, T, 17)."""
    frames = xy.shape[1]
    at = torch.arange(frames, device=xy.device).view(1, -1, 1)
    before = _latest(torch.where(seen, at, -1))  # last frame up to this one in which the joint was seen
    after = -_latest(torch.where(seen, -at, -frames).flip(1)).flip(1)
    first = torch.where(before < 0, after, before).clamp_max(frames - 1)
    last = torch.where(after == frames, before, after).clamp_min(0)
    share = (at - first) / (last - first).clamp_min(1)  # 0 if the joint was seen in this frame
    placed = torch.lerp(_at(xy, first), _at(xy, last), share[..., None])
    ever = seen.any(dim=1, keepdim=True)[..., None]  # (B, 1, 17, 1)
    centre = torch.where(ever, placed, 0).sum(dim=2, keepdim=True) / ever.sum(dim=2, keepdim=True).clamp_min(1)
    return torch.where(ever, placed, centre)


def _latest(frame: Tensor) -> Tensor:
    """Return the running maximum over frames (B, T, 17), by doubling steps in ONNX, which has no cummax."""
    if not torch.compiler.is_exporting():
        return frame.cummax(dim=1).values
    frames = frame.shape[1]
    for doubling in range((frames - 1).bit_length() if isinstance(frames, int) else LONGEST.bit_length()):
        earlier = nn.functional.pad(frame, (0, 0, 1 << doubling, 0), value=-LONGEST)[:, :frames]
        frame = torch.maximum(frame, earlier)
    return frame


def _mean_seen(path: Tensor, seen: Tensor) -> Tensor:
    """Return the mean (B, 1, 1, 2) of a path (B, T, 1, 2) over its `seen` frames (B, T); over all, without any."""
    counted = (seen | ~seen.any(dim=1, keepdim=True)).to(path.dtype)[..., None, None]
    return (path * counted).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True)


def _at(xy: Tensor, frame: Tensor) -> Tensor:
    return xy.gather(1, frame[..., None].expand(-1, -1, -1, 2))
