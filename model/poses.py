"""Operations on poses of the H36M skeleton that data, networks, scoring and lifting share."""

import torch
from torch import Tensor

from data_contracts.skeleton import BONES, NUM_JOINTS, PELVIS

_SWAPPED_LIMBS = ((1, 4), (4, 1), (11, 14), (14, 11))  # (to, from): three joints of a leg or an arm change sides
_SMALLEST_BOX = 1e-6


def root_relative(pose: Tensor) -> Tensor:
    """Return poses (..., 17, D) relative to the pelvis of each frame."""
    return pose - pose[..., PELVIS : PELVIS + 1, :]


def mirror(pose: Tensor) -> Tensor:
    """Return mirrored poses (..., 17, D) in image or camera axes: left and right exchanged, x negated."""
    flipped = pose.clone()
    for to, source in _SWAPPED_LIMBS:
        flipped[..., to : to + 3, :] = pose[..., source : source + 3, :]
    flipped[..., 0].neg_()
    return flipped


def bone_chains() -> Tensor:
    """Return (16, 17): 1 if the bone is on the chain from the pelvis to the joint, so bones @ chains are the joints."""
    chains = torch.zeros(len(BONES), NUM_JOINTS)
    for bone, (parent, joint) in enumerate(BONES):  # parents come before their children
        chains[:, joint] = chains[:, parent]
        chains[bone, joint] = 1
    return chains


def box(points: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the bounding box of each window: its centre (B, 1, 1, 2), and half of its longer side (B, 1, 1, 1).

    `points` (B, T, 17, 2) have any unit; (points - centre) / half normalises them as in the window contract. The box
    contains the `seen` joints (B, T, 17, 1), by default all. If no joint is seen, the centre is 0.
    """
    if seen is None:
        low, high = points.amin(dim=(1, 2), keepdim=True), points.amax(dim=(1, 2), keepdim=True)
    else:
        low = torch.where(seen, points, torch.inf).amin(dim=(1, 2), keepdim=True)
        high = torch.where(seen, points, -torch.inf).amax(dim=(1, 2), keepdim=True)
        none = low > high
        low, high = low.masked_fill(none, 0), high.masked_fill(none, 0)
    return (low + high) / 2, ((high - low).amax(dim=-1, keepdim=True) / 2).clamp_min(_SMALLEST_BOX)
