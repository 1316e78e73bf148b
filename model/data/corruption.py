"""Corrupt the 2D input: detector noise, masked joints, masked frames, and joints derived from detector skeletons.

- The noise follows MotionBERT's synthetic 2D (section 4.2, lib/data/augmentation.py). Errors are drawn at key frames
  from a mixture of a Gaussian and a uniform distribution. They are interpolated between key frames, and each frame gets
  a jitter. Confidence decreases with the displacement, as for real detectors.
- Lifting a keypoint file derives H36M joints from the detector's keypoints and normalises the window by the box of the
  derived joints. `derived_joints` changes training windows in this way, too.
"""

import math
from dataclasses import replace
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import CorruptionParameters, DetectorNoise
from model.data.batches import Batch
from model.poses import box

SomeBatch = TypeVar("SomeBatch", bound=Batch)


def corrupt(
    pose_2d: Tensor, parameters: CorruptionParameters, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Return a corrupted copy of the input.

    Noise is added first. Then each frame is replaced with probability `frame_share`, and each joint with `joint_share`.
    The fill `normal` sets every channel to N(0, 1); `zero` and `token` set it to 0, and the network replaces a `token`
    by a learned vector. Each window stays clean with probability `clean_share`.

    Returns
    -------
    (corrupted, masked)
        (B, T, 17, 3), a new tensor; and (B, T, 17) bool, the replaced joints, or None without masking.
    """
    batch, frames, joints, _ = pose_2d.shape

    def chosen(share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=pose_2d.device) < share

    corrupted = pose_2d if parameters.noise is None else add_detector_noise(pose_2d, parameters.noise, generator)
    changed = None
    if parameters.clean_share and (parameters.noise or parameters.masks):
        changed = ~chosen(parameters.clean_share, batch, 1, 1, 1)
        corrupted = torch.where(changed, corrupted, pose_2d)
    if not parameters.masks:
        return (corrupted.clone() if corrupted is pose_2d else corrupted), None
    masked = chosen(parameters.frame_share, batch, frames, 1, 1)
    masked = masked | chosen(parameters.joint_share, batch, frames, joints, 1)
    if changed is not None:
        masked = masked & changed
    if parameters.fill == "normal":
        fill = torch.randn(pose_2d.shape, generator=generator, device=pose_2d.device, dtype=pose_2d.dtype)
    else:
        fill = corrupted.new_zeros(())
    return torch.where(masked, fill, corrupted), masked[..., 0]


def add_detector_noise(pose_2d: Tensor, noise: DetectorNoise, generator: torch.Generator) -> Tensor:
    """Return joints (B, T, 17, 3) with detector errors, and confidences lowered by the displacement.

    With displacement d, the confidence is multiplied by a / (d + a) + b d + N(mean, std), clipped to [0, 1]
    (MotionBERT, `dis2conf`); the confidence of padding stays 0.
    """
    batch, frames, joints, _ = pose_2d.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=pose_2d.device, dtype=pose_2d.dtype)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=pose_2d.device, dtype=pose_2d.dtype)

    std = _on_device(noise.std, pose_2d.device).to(pose_2d.dtype)  # (17, 1), or (1, 1) if equal for all joints
    keys = math.ceil(frames / noise.key_every)  # 27 in 243 frames, as in MotionBERT
    inlier = normal(batch, keys, joints, 2) * std
    outlier = (uniform(batch, keys, joints, 2) - 0.5) * noise.outlier_range
    chosen = uniform(batch, keys, joints, 1) < noise.outlier_share
    drawn = torch.where(chosen, outlier, inlier).flatten(2).transpose(1, 2)  # (B, 34, keys)
    carried = F.interpolate(drawn, size=frames, mode="linear", align_corners=True).transpose(1, 2)
    offset = carried.reshape(pose_2d[..., :2].shape) + noise.jitter_std * normal(batch, frames, joints, 2)
    distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)  # (B, T, 17, 1)
    spread = noise.confidence_std * normal(batch, frames, joints, 1) + noise.confidence_mean
    confidence = noise.confidence_a / (distance + noise.confidence_a) + noise.confidence_b * distance + spread
    return torch.cat((pose_2d[..., :2] + offset, pose_2d[..., 2:] * confidence.clamp(0, 1)), dim=-1)


@cache
def _on_device(std: tuple[float, ...], device: torch.device) -> Tensor:
    """Return `std` as a tensor (n, 1), cached, because a copy to the device makes the program wait for the device."""
    return torch.tensor(std, device=device).view(-1, 1)


def draw_detectors(
    windows: Batch, parameters: CorruptionParameters, generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """Apply `derived_joints` of randomly drawn detectors to `skeletons_share` of the windows.

    Returns the windows, and the input joints (B, T, 17, 3) of the network.
    """
    if not parameters.skeletons_share:
        return windows, windows.pose_2d
    count, device = len(windows), windows.scale.device
    chosen = torch.rand(count, generator=generator, device=device) < parameters.skeletons_share
    drawn = torch.randint(len(parameters.skeletons), (count,), generator=generator, device=device)
    boxed, inputs = derived_joints(windows, _matrices(parameters.skeletons, device).index_select(0, drawn))
    as_it_is = ~chosen.view(-1, 1, 1, 1)
    return (
        replace(
            windows,
            pose_2d=torch.where(as_it_is, windows.pose_2d, boxed.pose_2d),
            pose_3d=torch.where(as_it_is, windows.pose_3d, boxed.pose_3d),
            scale=torch.where(chosen, boxed.scale, windows.scale),
        ),
        torch.where(as_it_is, windows.pose_2d, inputs),
    )


def derived_joints(windows: SomeBatch, derived: Tensor) -> tuple[SomeBatch, Tensor]:
    """Return windows, and joints (B, T, 17, 3) derived from a detector, both normalised by the box of these joints.

    `derived` is `DetectorSkeleton.derived` of each window's detector, (B, 17, 17), or (1, 17, 17) for all windows.
    Confidence, and the 3D poses in metres, do not change.
    """
    xy, confidence = windows.pose_2d[..., :2], windows.pose_2d[..., 2:]
    joints = torch.einsum("bjk,btkc->btjc", derived.expand(len(windows), -1, -1), xy)
    centre, half = box(joints)  # padding repeats a frame, so it does not change the box
    boxed = replace(
        windows,
        pose_2d=torch.cat(((xy - centre) / half, confidence), dim=-1),
        pose_3d=windows.pose_3d / half,
        scale=windows.scale / half.flatten(),
    )
    return boxed, torch.cat(((joints - centre) / half, confidence), dim=-1)


@cache
def _matrices(names: tuple[Detector, ...], device: torch.device) -> Tensor:
    """Return `DetectorSkeleton.derived` of all `names` (n, 17, 17), cached, because a copy waits for the device."""
    return torch.stack([torch.from_numpy(SKELETONS[name].derived) for name in names]).to(device)
