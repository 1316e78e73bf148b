"""Lifting as frames come, with nothing of what follows: `LiveLifter.push(frame) -> pose`.

Each frame is the last one of a window of what came before. A body's bones are as long as they were on average so far,
and the one-euro filter takes the trembling: it lags by less the faster a joint moves.
"""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from data_contracts.parameters import OneEuroParameters
from data_contracts.skeleton import NUM_JOINTS
from model.lifting.cameras import PinholeCamera
from model.lifting.gravity import to_world
from model.lifting.skeleton_fit import ADULT_BONES_M, bone_lengths, metres_per_unit, with_lengths
from model.lifting.smoothing import SAME_RATE, OneEuro
from model.lifting.track_windows import Lifting, lift_windows

_REMEMBERED = 300  # frames that the mean length of a bone is of, about


class LiveLifter:
    """One person, frame by frame.

    Parameters
    ----------
    lifting
        The network and what it was trained on.
    camera
        That the keypoints are seen by.
    fps
        Frames per second that will be pushed.
    height
        Of the person, metres.
    pitch_deg
        How far the camera looks down.
    filtering
        Of the one-euro filter; none: not filtered.
    bones
        Lengths that were measured, metres, by the joint that a bone leads to; they go before the height.
    """

    def __init__(
        self,
        lifting: Lifting,
        camera: PinholeCamera,
        fps: float,
        height: float,
        pitch_deg: float = 0.0,
        filtering: OneEuroParameters | None = OneEuroParameters(),
        bones: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.lifting, self.camera, self.height, self.pitch_deg = lifting, camera, height, pitch_deg
        self.bones = bones
        rate = lifting.fps or fps
        self.step = 1.0 if abs(fps / rate - 1) < SAME_RATE else fps / rate  # frames pushed for each of a window's
        self.frames: deque[Tensor] = deque(maxlen=int(np.ceil((lifting.window - 1) * self.step)) + 2)
        self.pushed = 0
        self.device = next(lifting.network.parameters()).device
        self.mean_bones, self.measured = ADULT_BONES_M, 0
        self.one_euro = OneEuro(fps, filtering.min_cutoff_hz, filtering.beta) if filtering else None
        self.size = 0.0  # focal lengths a metre of the body, in the frame pushed last

    def push(self, frame: np.ndarray) -> np.ndarray:
        """The pose of the next frame.

        Parameters
        ----------
        frame
            (17, 3): x, y in pixels and confidence; all 0 where missing, and of a frame in which nobody was seen.

        Returns
        -------
        ndarray
            (17, 3) float32 metres, z up, relative to the pelvis.
        """
        if frame.shape != (NUM_JOINTS, 3):
            raise ValueError(f"frame has shape {frame.shape}; ({NUM_JOINTS}, 3) is wanted")
        return to_world(self.push_in_camera(frame), self.pitch_deg).astype(np.float32)

    def push_in_camera(self, frame: np.ndarray) -> np.ndarray:
        """As `push`, in camera axes, float64."""
        rays = np.concatenate([self.camera.rays(frame[:, :2]), frame[:, 2:]], axis=-1)
        self.frames.append(torch.from_numpy(rays).to(self.device, torch.float32))
        self.pushed += 1
        window, inside = self._window()
        told = torch.zeros_like(window[..., 2])
        told[:inside] = window[:inside, :, 2]
        with torch.inference_mode():
            poses, size = lift_windows(
                self.lifting.network, window[None, ..., :2], window[None, ..., 2], told[None], self.lifting.flip
            )
        pose = poses[0, inside - 1].cpu().numpy().astype(np.float64)
        return self._settled(pose, float(size), frame[:, 2])

    def _window(self) -> tuple[Tensor, int]:
        """(window, 17, 3): rays and confidence of what was pushed, at the network's rate; and how many are no filling.

        A frame between two that were pushed lies on the line between them. Nothing comes before the first one: the
        window is filled up by the last one, as the window contract has it.
        """
        length, step = self.lifting.window, self.step
        inside = min(length, int((self.pushed - 1) / step + 1e-6) + 1)
        place = len(self.frames) - 1 - step * torch.arange(inside - 1, -1, -1, dtype=torch.float64)
        place = place.clamp_min(0)
        kept = torch.stack(tuple(self.frames))
        before = place.floor().long()
        share = (place - before).to(kept)[:, None, None]
        first, second = kept[before], kept[(before + 1).clamp_max(len(kept) - 1)]
        seen = ((first[..., 2:] > 0) | (share == 1)) & ((second[..., 2:] > 0) | (share == 0))
        window = torch.where(seen, torch.lerp(first, second, share), 0)
        return torch.cat((window, window[-1:].expand(length - inside, -1, -1))), inside

    def _settled(self, pose: np.ndarray, size: float, confidence: np.ndarray) -> np.ndarray:
        """Metres, with bones of the lengths that they had on average so far, filtered."""
        if (confidence > 0).any():
            self.measured = min(self.measured + 1, _REMEMBERED)
            lengths = bone_lengths(pose[None], confidence[None])
            self.mean_bones = self.mean_bones + (lengths - self.mean_bones) / self.measured
        metres = metres_per_unit(self.mean_bones, self.height, self.bones)
        self.size = size / metres
        pose = with_lengths(pose[None], self.mean_bones)[0] * metres
        return pose if self.one_euro is None else self.one_euro.follow(pose)
