"""Windows as a detector would show them whose keypoints are not H36M's joints.

What lifting a stranger's keypoints does is done here to known motion: the joints are those derived from the detector's
keypoints (`data_contracts.detector_skeletons`), and the box that a window is normalised by is that of the joints as
they are seen. So the window's 3D and its scale come in the units of the new box; in metres they stay as they were.
"""

from dataclasses import replace
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import CorruptionParameters
from model.windows.batches import Batch

SomeBatch = TypeVar("SomeBatch", bound=Batch)


def draw_detectors(
    windows: Batch, parameters: CorruptionParameters, generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """`seen_by` a detector drawn for each window of the share that is wanted; the others as they are.

    Parameters
    ----------
    generator
        Random numbers on the windows' device; untouched where no window is wanted.
    """
    if not parameters.skeletons_share:
        return windows, windows.pose_2d
    count, device = len(windows), windows.scale.device
    chosen = torch.rand(count, generator=generator, device=device) < parameters.skeletons_share
    drawn = torch.randint(len(parameters.skeletons), (count,), generator=generator, device=device)
    boxed, given = seen_by(windows, _matrices(parameters.skeletons, device).index_select(0, drawn))
    as_it_is = ~chosen.view(-1, 1, 1, 1)
    return (
        replace(
            windows,
            pose_2d=torch.where(as_it_is, windows.pose_2d, boxed.pose_2d),
            pose_3d=torch.where(as_it_is, windows.pose_3d, boxed.pose_3d),
            scale=torch.where(chosen, boxed.scale, windows.scale),
        ),
        torch.where(as_it_is, windows.pose_2d, given),
    )


def seen_by(windows: SomeBatch, shown: Tensor) -> tuple[SomeBatch, Tensor]:
    """The windows in the boxes of what detectors show of them, and what these show; confidence stays as it is.

    Parameters
    ----------
    shown
        (B, 17, 17), or (1, 17, 17) for all windows: `DetectorSkeleton.shown` of a window's detector.

    Returns
    -------
    (windows, given)
        H36M's joints, 2D and 3D, and the detector's (B, T, 17, 3): all normalised by the box of the detector's.
    """
    xy, confidence = windows.pose_2d[..., :2], windows.pose_2d[..., 2:]
    joints = torch.einsum("bjk,btkc->btjc", shown.expand(len(windows), -1, -1), xy)
    low, high = joints.amin(dim=(1, 2)), joints.amax(dim=(1, 2))  # (B, 2); padding repeats a frame
    half = (high - low).amax(dim=1).clamp_min(1e-6).view(-1, 1, 1, 1) / 2
    centre = ((low + high) / 2)[:, None, None]
    boxed = replace(
        windows,
        pose_2d=torch.cat(((xy - centre) / half, confidence), dim=-1),
        pose_3d=windows.pose_3d / half,
        scale=windows.scale / half.view(-1),
    )
    return boxed, torch.cat(((joints - centre) / half, confidence), dim=-1)


@cache
def _matrices(names: tuple[Detector, ...], device: torch.device) -> Tensor:
    """(detectors, 17, 17); once a run: to copy numbers to a device waits for it."""
    return torch.stack([torch.from_numpy(SKELETONS[name].shown) for name in names]).to(device)
