"""Count the floating point operations of a network, from shapes only; a multiply-add counts as two operations."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data_contracts.skeleton import NUM_JOINTS
from model.network.network import PoseNetwork

FORWARDS_A_STEP = 3  # a training step also computes the gradients of both factors of every product


def forward_mflop(network: nn.Module, window: int) -> float:
    """Return the operations (in millions) of all matrix products for a window of `window` frames, without geometry.

    Geometry takes few operations, and uses autocast, which the meta device does not support.
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    features = 3
    if isinstance(shapes, PoseNetwork):
        shapes.backbone.geometry, features = None, shapes.config.features_in
    seen = torch.empty(1, window, NUM_JOINTS, features, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(seen)
    return counter.get_total_flops() / 1e6
