"""Lift a track of any length with a network that takes windows, and blend the windows.

- Windows overlap. A frame is the mean of the windows that contain it, weighted by a raised cosine.
- Each window is projected to a camera that looks at the centre of the keypoints' box. The 3D output is turned back and
  divided by its body size, so windows agree when a person comes nearer. The size is returned too.
- Training masks single joints in single frames, never one joint in a whole window. So missing keypoints are estimated
  first; otherwise a joint that is missing in all frames (e.g. a hip) would spoil the other joints.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from data_contracts.skeleton import ADULT_BONES_M, BONES, JOINTS
from model.lifting.cameras import PinholeCamera, turned_to
from model.lifting.lifter import Lifter
from model.poses import box

_PARENTS, _CHILDREN = (list(ends) for ends in zip(*BONES, strict=True))
_SMALLEST = 1e-6  # size in a window without a person, focal lengths per unit
_EDGE = 0.02  # weight of the first and last frame of a window; the middle has weight 1
_ADULT_SUM_M = float(np.array(ADULT_BONES_M).sum())
_CERTAINTY = 0.2  # confidence of an estimated keypoint, as a share of the lowest confidence of its sources
_HIPS_WIDTH = ADULT_BONES_M[JOINTS.index("left_hip") - 1] / ADULT_BONES_M[JOINTS.index("left_shoulder") - 1]
_NOSE, _HEAD = 0.27, 0.52  # heights above the thorax, in trunk lengths (CMU)
_TRUNK, _THIGH = 1 / _HEAD, 0.8
_OPPOSITE = (("left", "right"), ("right", "left"))


def lift_track(
    lifter: Lifter, pose_2d: np.ndarray, camera: PinholeCamera, stride: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lift a track at the lifter's frame rate, on the lifter's device.

    Parameters
    ----------
    pose_2d
        (frames, 17, 3) pixels and confidence; 0 where missing.
    stride
        Frames between the starts of two windows; a forward pass takes `batch_size` windows.

    Returns
    -------
    (poses, size)
        Outputs of `lift_windows` for each frame: (frames, 17, 3) and (frames,).
    """
    window, device, frames = lifter.window, lifter.device, len(pose_2d)
    starts, last = _starts(frames, window, stride), torch.tensor(frames - 1)
    pose_2d = with_missing_estimated(pose_2d)
    rays = np.concatenate([camera.rays(pose_2d[..., :2]), pose_2d[..., 2:]], axis=-1)
    keypoints = torch.from_numpy(rays).to(device, torch.float32)
    window_weight = _raised_cosine(window).to(device)
    pose, log_size, total = (torch.zeros(frames, *shape, device=device) for shape in ((17, 3), (), ()))
    with torch.inference_mode():
        for batch in starts.split(batch_size):
            at = batch[:, None] + torch.arange(window)
            inside, at = (at <= last).to(device), at.minimum(last).to(device)
            lifted, size = lift_windows(lifter, keypoints[at], inside)
            weight = window_weight * inside
            pose.index_add_(0, at.flatten(), (lifted * weight[..., None, None]).flatten(0, 1))
            log_size.index_add_(0, at.flatten(), (size.log()[:, None] * weight).flatten())
            total.index_add_(0, at.flatten(), weight.flatten())
    pose, log_size = pose / total[:, None, None], log_size / total
    return pose.cpu().numpy(), log_size.exp().cpu().numpy()


def lift_windows(lifter: Lifter, keypoints: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise windows as in the window contract, lift them, and scale the poses to an adult's size.

    Parameters
    ----------
    keypoints, inside
        keypoints (B, T, 17, 3): x / z and y / z of the rays through the keypoints, and confidence, 0 if missing.
        inside (B, T) bool: false for padding, which repeats a frame.

    Returns
    -------
    (poses, size)
        poses (B, T, 17, 3): relative to the pelvis, camera axes (x right, y down, z forward), scaled to the size of an
        adult (`ADULT_BONES_M`). size (B,): image length of one unit of the poses at the body, in focal lengths.
    """
    rays, confidence = keypoints[..., :2], keypoints[..., 2:]
    seen = confidence > 0
    centre, _ = box(rays, seen)
    turn = torch.from_numpy(turned_to(centre[:, 0, 0].cpu().numpy())).to(rays)  # (B, 3, 3)
    turned = torch.cat((rays, torch.ones_like(rays[..., :1])), dim=-1) @ turn.transpose(1, 2)[:, None]
    image = turned[..., :2] / turned[..., 2:].clamp_min(0.1)
    centre, half = box(image, seen)
    normalised = torch.where(seen, (image - centre) / half, 0)
    lifted = lifter(torch.cat((normalised, confidence * inside[..., None, None]), dim=-1)) * half
    bones = torch.linalg.vector_norm(lifted[:, :, _CHILDREN] - lifted[:, :, _PARENTS], dim=-1)
    size = (bones.mean(dim=1).sum(dim=1) / _ADULT_SUM_M).clamp_min(_SMALLEST)  # (B,)
    return (lifted @ turn[:, None]) / size.view(-1, 1, 1, 1), size


def with_missing_estimated(keypoints: np.ndarray) -> np.ndarray:
    """Return keypoints (frames, 17, 3) with low-confidence estimates of missing joints of trunk, head and legs.

    `keypoints` are x and y in any unit, and confidence, 0 where missing. A joint that has no estimate stays 0.
    """
    keypoints = keypoints.copy()
    for joint, sources, weights in _SOURCES:
        lowest = keypoints[:, sources, 2].min(axis=1)
        rows = (keypoints[:, joint, 2] <= 0) & (lowest > 0)
        keypoints[rows, joint, :2] = weights @ keypoints[rows][:, sources, :2]
        keypoints[rows, joint, 2] = _CERTAINTY * lowest[rows]
    return keypoints


def _starts(frames: int, window: int, stride: int) -> Tensor:
    """Return the first frames of the windows: one window every `stride` frames, and one that ends with the track."""
    if frames <= window:
        return torch.zeros(1, dtype=torch.int64)
    starts = torch.arange(0, frames - window + 1, stride)
    return starts if starts[-1] == frames - window else torch.cat((starts, torch.tensor([frames - window])))


def _raised_cosine(window: int) -> Tensor:
    turn = 2 * torch.pi * (torch.arange(window) + 0.5) / window
    return _EDGE + (1 - _EDGE) * (1 - turn.cos()) / 2


def _estimates() -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield (joint, weights of its source joints; their sum is 1); the first entry with all sources is used."""
    for side, other in _OPPOSITE:
        hip, shoulder = (f"{side}_hip", f"{other}_hip"), (f"{side}_shoulder", f"{other}_shoulder")
        yield hip[0], {hip[1]: 1, shoulder[0]: _HIPS_WIDTH, shoulder[1]: -_HIPS_WIDTH}
        yield shoulder[0], {shoulder[1]: 1, hip[0]: 1 / _HIPS_WIDTH, hip[1]: -1 / _HIPS_WIDTH}
    for side, other in _OPPOSITE:  # seen from the side
        yield f"{side}_hip", {f"{other}_hip": 1}
        yield f"{side}_shoulder", {f"{other}_shoulder": 1}
    yield "thorax", {"left_shoulder": 0.5, "right_shoulder": 0.5}
    yield "pelvis", {"left_hip": 0.5, "right_hip": 0.5}
    yield "pelvis", {"thorax": 1 + _TRUNK, "head": -_TRUNK}
    for side, other in _OPPOSITE:
        width = _HIPS_WIDTH / 2
        yield f"{side}_hip", {"pelvis": 1, f"{side}_shoulder": width, f"{other}_shoulder": -width}
    yield "spine", {"pelvis": 0.5, "thorax": 0.5}
    yield "nose", {"thorax": 1 + _NOSE, "pelvis": -_NOSE}
    yield "head", {"thorax": 1 + _HEAD, "pelvis": -_HEAD}
    for side, other in _OPPOSITE:  # parallel to the other leg
        yield f"{side}_knee", {f"{side}_hip": 1, f"{other}_knee": 1, f"{other}_hip": -1}
        yield f"{side}_ankle", {f"{side}_knee": 1, f"{other}_ankle": 1, f"{other}_knee": -1}
    for side, _ in _OPPOSITE:  # straight
        yield f"{side}_knee", {f"{side}_hip": 1, "pelvis": _THIGH, "thorax": -_THIGH}
        yield f"{side}_ankle", {f"{side}_knee": 2, f"{side}_hip": -1}


_SOURCES = tuple(
    (JOINTS.index(joint), [JOINTS.index(source) for source in weights], np.array([*weights.values()], np.float32))
    for joint, weights in _estimates()
)
