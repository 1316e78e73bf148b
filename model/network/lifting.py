"""From a network's output to a pose relative to its pelvis."""

import torch
from torch import Tensor, nn

from data_contracts.skeleton import PELVIS


def root_relative(pose: Tensor) -> Tensor:
    """Each frame relative to its pelvis: (..., 17, D)."""
    return pose - pose[..., PELVIS : PELVIS + 1, :]


def lift(network: nn.Module, pose_2d: Tensor) -> Tensor:
    """3D poses from 2D windows.

    Parameters
    ----------
    network
        A DSTformer (or its Fabric wrapper) with a 3D output.
    pose_2d
        (B, T, 17, 3): x right, y down, confidence, in the window's normalised units.

    Returns
    -------
    Tensor
        (B, T, 17, 3) float32: x right, y down, z forward, relative to the pelvis, in the input's units; divided by the
        window's `scale` they are metres.
    """
    return root_relative(network(pose_2d).to(torch.float32))
