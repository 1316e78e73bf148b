"""A track of keypoints of any length through a network that takes windows, and the windows' answers made one.

Notable decisions:
- windows overlap, and a frame is the mean of those that cover it, each weighted by a raised cosine over the window: no
  frame is where one window ends and another takes over;
- each window is normalised by the box of what is seen in it, as in the window contract, and seen by a camera that is
  turned to the box's centre; its answer is turned back and divided by the size of the body that it shows. So windows
  agree about a person who comes nearer, and how large the person looks is told beside;
- `causal`: a frame is the last one of a window of what came before, as it must be live.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from data_contracts.skeleton import BONES
from model.lifting.bodies import ADULT_BONES_M
from model.lifting.cameras import PinholeCamera, turned_to
from model.network.lifting import lift

_PARENTS, _CHILDREN = (list(ends) for ends in zip(*BONES, strict=True))
_EDGE = 0.02  # weight of a window's first and last frame beside its middle's 1


@dataclass(frozen=True)
class LiftedTrack:
    """What the network makes of a track.

    pose (frames, 17, 3): relative to the pelvis in camera axes (x right, y down, z forward), in units in which the body
    has the size of an adult (`ADULT_BONES_M`); size (frames,): how large it looks, focal lengths a unit.
    """

    pose: np.ndarray
    size: np.ndarray


def lift_track(
    network: nn.Module,
    pose_2d: np.ndarray,
    camera: PinholeCamera,
    window: int,
    stride: int,
    flip: bool,
    batch_size: int,
    causal: bool = False,
) -> LiftedTrack:
    """Lift a track at the network's frame rate.

    Parameters
    ----------
    network
        In evaluation mode, with a 3D output; it says which device is used.
    pose_2d
        (frames, 17, 3) pixels and confidence; 0 where missing.
    window
        Frames that the network lifts at once.
    stride
        Frames from one window to the next; 1 if `causal`.
    """
    device = next(network.parameters()).device
    frames = len(pose_2d)
    starts = _causal_starts(frames, window) if causal else _starts(frames, window, stride)
    rays = torch.from_numpy(camera.rays(pose_2d[..., :2])).to(device, torch.float32)
    confidence = torch.from_numpy(np.ascontiguousarray(pose_2d[..., 2])).to(device, torch.float32)
    weights = _last(frames, starts, window) if causal else _raised_cosine(window).expand(len(starts), -1)
    pose = torch.zeros(frames, 17, 3, device=device)
    log_size, total = torch.zeros(frames, device=device), torch.zeros(frames, device=device)
    with torch.inference_mode():
        for some in torch.arange(len(starts)).split(batch_size):
            at = starts[some, None] + torch.arange(window)
            last = torch.full((len(some), 1), frames - 1) if not causal else some[:, None]
            inside = (at <= last).to(device)
            at = at.minimum(last).to(device)
            seen = torch.where(inside[..., None], confidence[at], 0)
            lifted, size = _lift_windows(network, rays[at], confidence[at], seen, flip)
            weight = weights[some].to(device) * inside
            pose.index_add_(0, at.flatten(), (lifted * weight[..., None, None]).flatten(0, 1))
            log_size.index_add_(0, at.flatten(), (size.log()[:, None] * weight).flatten())
            total.index_add_(0, at.flatten(), weight.flatten())
    pose, log_size = pose / total[:, None, None], log_size / total
    return LiftedTrack(pose.cpu().numpy(), log_size.exp().cpu().numpy())


def _lift_windows(
    network: nn.Module, rays: Tensor, confidence: Tensor, given: Tensor, flip: bool
) -> tuple[Tensor, Tensor]:
    """Poses (B, T, 17, 3) in camera axes and units of an adult's body, and its size (B,) in focal lengths.

    `rays` (B, T, 17, 2); `confidence` (B, T, 17), 0 where nothing was seen; `given`: what the network is told of it.
    """
    seen = (confidence > 0)[..., None]
    low, high = _box(rays, seen)
    turn = torch.from_numpy(turned_to(((low + high) / 2).cpu().numpy())).to(rays)  # (B, 3, 3)
    turned = torch.cat((rays, torch.ones_like(rays[..., :1])), dim=-1) @ turn.transpose(1, 2)[:, None]
    image = turned[..., :2] / turned[..., 2:].clamp_min(0.1)
    low, high = _box(image, seen)
    half = ((high - low).amax(dim=1) / 2).clamp_min(1e-6).view(-1, 1, 1, 1)
    normalised = torch.where(seen, (image - ((low + high) / 2)[:, None, None]) / half, 0)
    lifted = lift(network, torch.cat((normalised, given[..., None]), dim=-1), flip) * half
    bones = torch.linalg.vector_norm(lifted[:, :, _CHILDREN] - lifted[:, :, _PARENTS], dim=-1)
    size = bones.mean(dim=1).sum(dim=1) / float(ADULT_BONES_M.sum())  # (B,)
    return (lifted @ turn[:, None]) / size.view(-1, 1, 1, 1), size


def _box(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest x, y (B, 2) of points (B, T, 17, 2) that are seen; 0 where none is."""
    low = torch.where(seen, points, torch.inf).amin(dim=(1, 2))
    high = torch.where(seen, points, -torch.inf).amax(dim=(1, 2))
    none = low > high
    return low.masked_fill(none, 0), high.masked_fill(none, 0)


def _starts(frames: int, window: int, stride: int) -> Tensor:
    """First frames of the windows: every `stride`, and one that ends with the track; one of a track that is shorter."""
    if frames <= window:
        return torch.zeros(1, dtype=torch.int64)
    starts = torch.arange(0, frames - window + 1, stride)
    return starts if starts[-1] == frames - window else torch.cat((starts, torch.tensor([frames - window])))


def _causal_starts(frames: int, window: int) -> Tensor:
    """Of each frame the window that ends with it, or begins with the track."""
    return (torch.arange(frames) - window + 1).clamp_min(0)


def _last(frames: int, starts: Tensor, window: int) -> Tensor:
    """(frames, window): 1 at the place of each frame in its own window."""
    return torch.nn.functional.one_hot(torch.arange(frames) - starts, window).float()


def _raised_cosine(window: int) -> Tensor:
    turn = 2 * torch.pi * (torch.arange(window) + 0.5) / window
    return _EDGE + (1 - _EDGE) * (1 - turn.cos()) / 2
