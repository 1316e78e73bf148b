"""What the image tells of depth: a bone that looks shorter than it is reaches towards the camera, or away from it.

Taylor, "Reconstruction of articulated objects from point correspondences in a single uncalibrated image", CVIU 80
(2000): under a scaled orthographic camera a bone of length l that looks s long reaches sqrt(l^2 - s^2) along the axis;
only the sign is open. So the size is geometry here and the sign is learned.

Notable decisions:
- a window is seen from its pelvis, in lengths of its body: neither the place in the image nor the size in it matters;
- a bone is as long as it looks at its longest, a tenth of the window's frames left out, or its other side's, and at
  least as long as people's times a factor that is learned. The tenth costs little where 2D is true and much less than
  the extreme where it is not: error of the reach, CMU's person 01, T = 27: 34 mm against 33, with the noise of
  `DetectorNoise` 66 against 115;
- the body's size is how long its bones are so, against how long they are in people;
- a joint of confidence 0 was not seen: its bones measure nothing. It stands where it was seen before and after,
  interpolated, and where it never was, at the centre of those that were. Its confidence stays 0;
- the head gives x, y, z and, per bone, the signed share of its reach; a joint's depth is the sum along its chain. With
  all of these zero the answer is the flat pose of the image: exact in x and y for an orthographic camera, nearly so for
  a perspective one;
- left and right are treated alike; all is computed in float32 under autocast too.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_contracts.skeleton import BONES, MIRROR, NUM_JOINTS, PELVIS

# Bones of an adult in metres, in the order of BONES. Only their ratios matter: they weigh what is measured.
_METRES = (0.10, 0.41, 0.40, 0.10, 0.41, 0.40, 0.21, 0.21, 0.14, 0.12, 0.16, 0.28, 0.23, 0.16, 0.28, 0.23)
LEFT_OUT = 10  # of so many frames the one in which a bone looks longest does not count
LONGEST = 4096  # frames of a window, as convert.window allows them
_SMALLEST = 1e-2  # size of a body of which nothing was measured, and of any other at least
_SEEN = 1e-10  # square of a length from which on it was measured
_SOFT = 1e-5  # added to a squared reach (3 mm): the root has a slope at 0


class View(NamedTuple):
    """A window as the network meets it.

    given (B, T, 17, 4): x, y from the pelvis, confidence, reach of the joint's bone, all but confidence in lengths of
    the body; in the pelvis' place its path less its mean. flat (B, T, 17, 2): x, y from the pelvis in the window's
    units. reach (B, T, 16). size (B, 1, 1, 1): the window's units a length.
    """

    given: Tensor
    flat: Tensor
    reach: Tensor
    size: Tensor


class Foreshortening(nn.Module):
    """`forward` sees a window; `pose` turns what a head says of it into poses."""

    parents: Tensor
    other_side: Tensor
    metres: Tensor
    chain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lengths = nn.Parameter(torch.ones(len(BONES)))
        sides = [MIRROR[joint] - 1 for _, joint in BONES]
        self.register_buffer("parents", torch.tensor([parent for parent, _ in BONES]), persistent=False)
        self.register_buffer("other_side", torch.tensor(sides), persistent=False)
        self.register_buffer("metres", torch.tensor(_METRES), persistent=False)
        self.register_buffer("chain", _chain(), persistent=False)

    def forward(self, pose_2d: Tensor) -> View:
        """(B, T, 17, 3): x, y, confidence, in any units."""
        with torch.autocast(pose_2d.device.type, enabled=False):
            xy, confidence = pose_2d.float()[..., :2], pose_2d.float()[..., 2:3]
            seen = confidence[..., 0] > 0  # (B, T, 17)
            xy = _placed(xy, seen)
            bones = xy[:, :, 1:] - xy.index_select(2, self.parents)
            looks = bones[..., 0].square() + bones[..., 1].square()  # (B, T, 16); vector_norm takes 4 times as long
            measured = seen[:, :, 1:] & seen.index_select(2, self.parents)
            at = 1 + looks.shape[1] // LEFT_OUT
            longest = torch.where(measured, looks, 0).topk(at, dim=1).values[:, -1:]  # (B, 1, 16)
            size = self._size(longest)
            flat = xy - xy[:, :, PELVIS : PELVIS + 1]
            path = xy[:, :, PELVIS : PELVIS + 1]
            reach = self._reach(looks / size[..., 0].square(), longest / size[..., 0].square())
            relative = torch.cat((path - _mean_seen(path, seen[:, :, PELVIS]), flat[:, :, 1:]), dim=2) / size
            of_joints = nn.functional.pad(reach, (1, 0))[..., None]
            return View(torch.cat((relative, confidence, of_joints), dim=-1), flat, reach, size)

    def pose(self, out: Tensor, view: View) -> Tensor:
        """Poses (B, T, 17, 3) in the window's units; `out` (B, T, 17, 4): x, y, z in lengths of the body, shares."""
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


def _placed(xy: Tensor, seen: Tensor) -> Tensor:
    """Joints that were not seen put where they may be: (B, T, 17, 2)."""
    frames = xy.shape[1]
    at = torch.arange(frames, device=xy.device).view(1, -1, 1)
    before = _latest(torch.where(seen, at, -1))  # the last frame up to this one in which it was seen
    after = -_latest(torch.where(seen, -at, -frames).flip(1)).flip(1)
    first = torch.where(before < 0, after, before).clamp_max(frames - 1)
    last = torch.where(after == frames, before, after).clamp_min(0)
    share = (at - first) / (last - first).clamp_min(1)  # 0 where it was seen in this frame
    placed = torch.lerp(_at(xy, first), _at(xy, last), share[..., None])
    ever = seen.any(dim=1, keepdim=True)[..., None]  # (B, 1, 17, 1)
    centre = torch.where(ever, placed, 0).sum(dim=2, keepdim=True) / ever.sum(dim=2, keepdim=True).clamp_min(1)
    return torch.where(ever, placed, centre)


def _latest(frame: Tensor) -> Tensor:
    """Maximum up to each frame: (B, T, 17). ONNX knows no such thing: there it is taken over 2, 4, 8, ... frames."""
    if not torch.compiler.is_exporting():
        return frame.cummax(dim=1).values
    frames = frame.shape[1]
    for doubling in range((frames - 1).bit_length() if isinstance(frames, int) else LONGEST.bit_length()):
        earlier = nn.functional.pad(frame, (0, 0, 1 << doubling, 0), value=-LONGEST)[:, :frames]
        frame = torch.maximum(frame, earlier)
    return frame


def _mean_seen(path: Tensor, seen: Tensor) -> Tensor:
    """Mean of a path (B, T, 1, 2) over the frames (B, T) in which it was seen, or over all: (B, 1, 1, 2)."""
    counted = (seen | ~seen.any(dim=1, keepdim=True)).to(path.dtype)[..., None, None]
    return (path * counted).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True)


def _at(xy: Tensor, frame: Tensor) -> Tensor:
    return xy.gather(1, frame[..., None].expand(-1, -1, -1, 2))


def _chain() -> Tensor:
    """(16, 17): 1 where a bone lies between the pelvis and a joint."""
    chain = torch.zeros(len(BONES), NUM_JOINTS)
    for bone, (parent, joint) in enumerate(BONES):
        if parent != PELVIS:
            chain[:, joint] = chain[:, parent]
        chain[bone, joint] = 1.0
    return chain
