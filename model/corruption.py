"""What pretraining does to the 2D input: detector noise, masked joints, masked frames (MotionBERT, section 4.2)."""

import torch
from torch import Tensor

from data_contracts.parameters import CorruptionParameters


def corrupt(pose_2d: Tensor, parameters: CorruptionParameters, generator: torch.Generator) -> Tensor:
    """A corrupted copy of the input; the input itself stays as it is.

    Noise moves every joint by N(0, `noise_std`); a displacement d lowers its confidence to exp(-d / (2 noise_std)).
    Then each frame with probability `frame_share`, and each joint of the rest with probability `joint_share`, is
    replaced: `normal` by N(0, 1) in every channel, `zero` by 0.

    Parameters
    ----------
    pose_2d
        (B, T, 17, 3): x, y, confidence, normalised units.
    generator
        Random numbers on the input's device.

    Returns
    -------
    Tensor
        (B, T, 17, 3), a new tensor.
    """
    batch, frames, joints, _ = pose_2d.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=pose_2d.device, dtype=pose_2d.dtype)

    def chosen(share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=pose_2d.device) < share

    corrupted = pose_2d
    if parameters.noise_std:
        offset = parameters.noise_std * normal(batch, frames, joints, 2)
        fading = torch.exp(-torch.linalg.vector_norm(offset, dim=-1, keepdim=True) / (2 * parameters.noise_std))
        corrupted = torch.cat((pose_2d[..., :2] + offset, pose_2d[..., 2:] * fading), dim=-1)
    if parameters.frame_share or parameters.joint_share:
        masked = chosen(parameters.frame_share, batch, frames, 1, 1)
        masked = masked | chosen(parameters.joint_share, batch, frames, joints, 1)
        fill = normal(*pose_2d.shape) if parameters.fill == "normal" else torch.zeros_like(pose_2d)
        corrupted = torch.where(masked, fill, corrupted)
    return corrupted.clone() if corrupted is pose_2d else corrupted
