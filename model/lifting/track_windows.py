"""A track of keypoints of any length through a network that takes windows, and the windows' answers made one.

Notable decisions:
- windows overlap, and a frame is the mean of those that cover it, each weighted by a raised cosine over the window: no
  frame is where one window ends and another takes over;
- each window is normalised by the box of what is seen in it, as in the window contract, and seen by a camera that is
  turned to the box's centre; its answer is turned back and divided by the size of the body that it shows. So windows
  agree about a person who comes nearer, and how large the person looks is told beside.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from data_contracts.skeleton import BONES
from model.lifting.cameras import PinholeCamera, turned_to
from model.lifting.skeleton_fit import ADULT_BONES_M
from model.network.lifting import lift

_PARENTS, _CHILDREN = (list(ends) for ends in zip(*BONES, strict=True))
_SMALLEST = 1e-6  # focal lengths a unit: of a window in which nobody was seen
_EDGE = 0.02  # weight of a window's first and last frame beside its middle's 1


@dataclass(frozen=True)
class Lifting:
    """A network in evaluation mode, with a 3D output, and what it was trained on.

    `window`: frames that it lifts at once; `fps`: their rate, none where it is not known; `flip`: flip averaging.
    """

    network: nn.Module
    window: int
    fps: float | None
    flip: bool = True


@dataclass(frozen=True)
class LiftedTrack:
    """What the network makes of a track.

    pose (frames, 17, 3): relative to the pelvis in camera axes (x right, y down, z forward), in units in which the body
    has the size of an adult (`ADULT_BONES_M`); size (frames,): how large it looks, focal lengths a unit.
    """

    pose: np.ndarray
    size: np.ndarray


def lift_track(
    lifting: Lifting, pose_2d: np.ndarray, camera: PinholeCamera, stride: int, batch_size: int
) -> LiftedTrack:
    """Lift a track at the network's frame rate, on the device that it is on.

    Parameters
    ----------
    pose_2d
        (frames, 17, 3) pixels and confidence; 0 where missing.
    stride
        Frames from one window to the next.
    batch_size
        Windows at once.
    """
    window, device = lifting.window, next(lifting.network.parameters()).device
    frames = len(pose_2d)
    starts, last = _starts(frames, window, stride), torch.tensor(frames - 1)
    rays = torch.from_numpy(camera.rays(pose_2d[..., :2])).to(device, torch.float32)
    confidence = torch.from_numpy(np.ascontiguousarray(pose_2d[..., 2])).to(device, torch.float32)
    of_window = _raised_cosine(window).to(device)
    pose, log_size, total = (torch.zeros(frames, *shape, device=device) for shape in ((17, 3), (), ()))
    with torch.inference_mode():
        for some in starts.split(batch_size):
            at = some[:, None] + torch.arange(window)
            inside, at = (at <= last).to(device), at.minimum(last).to(device)
            told = torch.where(inside[..., None], confidence[at], 0)
            lifted, size = lift_windows(lifting.network, rays[at], confidence[at], told, lifting.flip)
            weight = of_window * inside
            pose.index_add_(0, at.flatten(), (lifted * weight[..., None, None]).flatten(0, 1))
            log_size.index_add_(0, at.flatten(), (size.log()[:, None] * weight).flatten())
            total.index_add_(0, at.flatten(), weight.flatten())
    pose, log_size = pose / total[:, None, None], log_size / total
    return LiftedTrack(pose.cpu().numpy(), log_size.exp().cpu().numpy())


def lift_windows(
    network: nn.Module, rays: Tensor, confidence: Tensor, told: Tensor, flip: bool
) -> tuple[Tensor, Tensor]:
    """Windows through the network.

    Parameters
    ----------
    rays
        (B, T, 17, 2): x / z and y / z of the rays through the keypoints.
    confidence
        (B, T, 17): 0 where nothing was seen.
    told
        (B, T, 17): what the network is told of it, 0 in frames that only fill a window up.

    Returns
    -------
    (poses, size)
        (B, T, 17, 3) relative to the pelvis, in camera axes and units of an adult's body, and how large it looks, (B,)
        focal lengths a unit.
    """
    seen = (confidence > 0)[..., None]
    low, high = _box(rays, seen)
    turn = torch.from_numpy(turned_to(((low + high) / 2).cpu().numpy())).to(rays)  # (B, 3, 3)
    turned = torch.cat((rays, torch.ones_like(rays[..., :1])), dim=-1) @ turn.transpose(1, 2)[:, None]
    image = turned[..., :2] / turned[..., 2:].clamp_min(0.1)
    low, high = _box(image, seen)
    half = ((high - low).amax(dim=1) / 2).clamp_min(1e-6).view(-1, 1, 1, 1)
    normalised = torch.where(seen, (image - ((low + high) / 2)[:, None, None]) / half, 0)
    lifted = lift(network, torch.cat((normalised, told[..., None]), dim=-1), flip) * half
    bones = torch.linalg.vector_norm(lifted[:, :, _CHILDREN] - lifted[:, :, _PARENTS], dim=-1)
    size = (bones.mean(dim=1).sum(dim=1) / float(ADULT_BONES_M.sum())).clamp_min(_SMALLEST)  # (B,)
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


def _raised_cosine(window: int) -> Tensor:
    turn = 2 * torch.pi * (torch.arange(window) + 0.5) / window
    return _EDGE + (1 - _EDGE) * (1 - turn.cos()) / 2
