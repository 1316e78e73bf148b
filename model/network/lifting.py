"""From a network's output to the pose that is scored and served: relative to its pelvis, flip averaged."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from data_contracts.skeleton import PELVIS

Lifter = Callable[[Tensor], Tensor]  # (B, T, 17, 3) normalised -> (B, T, 17, 3) relative to the pelvis, normalised
SWAPPED_LIMBS = ((1, 4), (4, 1), (11, 14), (14, 11))  # (to, from): three joints of a leg or an arm change sides


def root_relative(pose: Tensor) -> Tensor:
    """Each frame relative to its pelvis: (..., 17, D)."""
    return pose - pose[..., PELVIS : PELVIS + 1, :]


def mirror(pose: Tensor) -> Tensor:
    """Left and right exchanged and x negated: (..., 17, D) in image or camera axes."""
    flipped = pose.clone()
    for to, source in SWAPPED_LIMBS:
        flipped[..., to : to + 3, :] = pose[..., source : source + 3, :]
    flipped[..., 0].neg_()
    return flipped


def lift(network: nn.Module, pose_2d: Tensor, flip: bool) -> Tensor:
    """3D poses from 2D windows.

    Parameters
    ----------
    network
        A network (or its Fabric wrapper) with a 3D output.
    pose_2d
        (B, T, 17, 3): x right, y down, confidence, in the window's normalised units.
    flip
        Flip averaging: the mean of what the network makes of a window and, mirrored back, of its mirror image.

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
