"""Lift 2D windows by a network: poses relative to the pelvis, with optional flip averaging."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from data_contracts.skeleton import PELVIS

Lifter = Callable[[Tensor], Tensor]  # (B, T, 17, 3) normalised -> (B, T, 17, 3) relative to the pelvis, normalised
SWAPPED_LIMBS = ((1, 4), (4, 1), (11, 14), (14, 11))  # (to, from): three joints of a leg or an arm change sides


def root_relative(pose: Tensor) -> Tensor:
    """Return poses (..., 17, D) relative to the pelvis of each frame."""
    return pose - pose[..., PELVIS : PELVIS + 1, :]


def mirror(pose: Tensor) -> Tensor:
    """Return mirrored poses (..., 17, D) in image or camera axes: left and right exchanged, x negated."""
    flipped = pose.clone()
    for to, source in SWAPPED_LIMBS:
        flipped[..., to : to + 3, :] = pose[..., source : source + 3, :]
    flipped[..., 0].neg_()
    return flipped


def lift(network: nn.Module, pose_2d: Tensor, flip: bool) -> Tensor:
    """Return 3D poses of 2D windows.

    Parameters
    ----------
    network
        A network (or its Fabric wrapper) with a 3D output.
    pose_2d
        (B, T, 17, 3): x right, y down, confidence, in the window's normalised units.
    flip
        Average the network's output with the mirrored output for the mirrored window.

    Returns
    -------
    Tensor
        (B, T, 17, 3) float32: x right, y down, z forward, relative to the pelvis, in the input's units; divided by the
        window's `scale` they are metres.
    """
    lifted = root_relative(network(pose_2d).to(torch.float32))
    if not flip:
        return lifted
    return (lifted + mirror(lift(network, mirror(pose_2d), flip=False))) / 2
