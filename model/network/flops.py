"""What a network computes for a window, counted from shapes: nothing is computed, and every device gives the same.

Products of matrices count, a multiplication and an addition as two. Geometry, a few products of joints, is left out: it
asks for autocast, which the device without numbers does not know.
"""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data_contracts.skeleton import NUM_JOINTS
from model.network.dstformer import DSTformer

FORWARDS_A_STEP = 3  # a training step takes the gradients of both factors of every product


def forward_mflop(network: nn.Module, window: int) -> float:
    """Millions of floating point operations for one window of `window` frames, from 2D to 3D."""
    shapes = copy.deepcopy(network).to("meta").eval()
    features = 3
    if isinstance(shapes, DSTformer):
        shapes.backbone.geometry, features = None, shapes.config.features_in
    seen = torch.empty(1, window, NUM_JOINTS, features, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(seen)
    return counter.get_total_flops() / 1e6
