"""Windows whose 2D joints are derived from the keypoints of a detector with another skeleton.

Lifting a keypoint file derives H36M joints from the detector's keypoints (`data_contracts.detector_skeletons`) and
normalises the window by the box of the derived joints. This module does the same to training windows. 3D and scale are
converted to the units of the new box; in metres they do not change.
"""

from dataclasses import replace
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import CorruptionParameters
from model.data.batches import Batch
from model.poses import box

SomeBatch = TypeVar("SomeBatch", bound=Batch)


def draw_detectors(
    windows: Batch, parameters: CorruptionParameters, generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """Apply `derived_joints` with a random detector to `skeletons_share` of the windows."""
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


def derived_joints(windows: SomeBatch, shown: Tensor) -> tuple[SomeBatch, Tensor]:
    """Return the windows normalised by the box of the detector's joints, and these joints; confidence is unchanged.

    Parameters
    ----------
    shown
        (B, 17, 17), or (1, 17, 17) for all windows: `DetectorSkeleton.shown` of a window's detector.

    Returns
    -------
    (windows, inputs)
        H36M joints in 2D and 3D, and the derived joints (B, T, 17, 3), all normalised by the box of the derived joints.
    """
    xy, confidence = windows.pose_2d[..., :2], windows.pose_2d[..., 2:]
    joints = torch.einsum("bjk,btkc->btjc", shown.expand(len(windows), -1, -1), xy)
    centre, half = box(joints)  # padding repeats a frame
    boxed = replace(
        windows,
        pose_2d=torch.cat(((xy - centre) / half, confidence), dim=-1),
        pose_3d=windows.pose_3d / half,
        scale=windows.scale / half.flatten(),
    )
    return boxed, torch.cat(((joints - centre) / half, confidence), dim=-1)


@cache
def _matrices(names: tuple[Detector, ...], device: torch.device) -> Tensor:
    """Return (detectors, 17, 17), cached, because copying numbers synchronises with the device."""
    return torch.stack([torch.from_numpy(SKELETONS[name].shown) for name in names]).to(device)
