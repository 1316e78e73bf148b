"""Lift frames one by one, without later frames: `LiveLifter.push(frame) -> pose`.

Each new frame is the last frame of a window. A bone has the mean of its lengths so far. A one-euro filter removes
jitter; the lag of the filter decreases with the speed of a joint.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch

from data_contracts.parameters import OneEuroParameters
from data_contracts.skeleton import ADULT_BONES_M, NUM_JOINTS
from model.lifting.cameras import PinholeCamera
from model.lifting.gravity import to_world
from model.lifting.lifter import Lifter
from model.lifting.skeleton_fit import bone_lengths, metres_per_unit, with_lengths
from model.lifting.smoothing import OneEuro, keypoints_at, resampled_rate
from model.lifting.track_windows import lift_windows, with_missing_estimated

_AVERAGED = 300  # approximate number of frames in the mean length of a bone


class LiveLifter:
    """Lifter of one person, frame by frame.

    Parameters
    ----------
    fps
        Frames pushed per second of video.
    height, bones
        Height of the person and measured bone lengths in metres; see `metres_per_unit`.
    pitch_deg
        Downward pitch of the camera, degrees.
    filtering
        The one-euro filter. If None, poses are not filtered.
    """

    def __init__(
        self,
        lifter: Lifter,
        camera: PinholeCamera,
        fps: float,
        height: float,
        pitch_deg: float = 0.0,
        filtering: OneEuroParameters | None = OneEuroParameters(),
        bones: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.lifter, self.camera, self.pitch_deg = lifter, camera, pitch_deg
        self.height, self.bones = height, bones
        self.step = fps / resampled_rate(fps, lifter.fps or fps)  # pushed frames per window frame
        self.frames: deque[np.ndarray] = deque(maxlen=int(np.ceil((lifter.window - 1) * self.step)) + 2)
        self.pushed = 0
        self.mean_bones, self.measured = np.array(ADULT_BONES_M), 0
        self.one_euro = OneEuro(fps, filtering) if filtering else None
        self.size = 0.0  # focal lengths per metre of the body, in the last pushed frame

    def push(self, frame: np.ndarray) -> np.ndarray:
        """Return the pose (17, 3) of the next frame: float32 metres, z up, relative to the pelvis.

        `frame` (17, 3): x, y in pixels and confidence; 0, 0, 0 for a missing joint. A frame without a person is all 0.
        Another shape raises a ValueError.
        """
        if frame.shape != (NUM_JOINTS, 3):
            raise ValueError(f"frame has shape {frame.shape}, expected ({NUM_JOINTS}, 3): x, y, confidence")
        return to_world(self.push_in_camera(frame), self.pitch_deg).astype(np.float32)

    def push_all(self, pose_2d: np.ndarray, report: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
        """Return the poses (frames, 17, 3) of a track as `push_in_camera` does, and the values of `size` (frames,).

        `pose_2d` (frames, 17, 3); `report` is called with the number of finished frames.
        """
        pose, size = np.empty((len(pose_2d), NUM_JOINTS, 3)), np.empty(len(pose_2d))
        for number, frame in enumerate(pose_2d):
            pose[number], size[number] = self.push_in_camera(frame), self.size
            if number % 100 == 0:
                report(number)
        return pose, size

    def push_in_camera(self, frame: np.ndarray) -> np.ndarray:
        """Return the pose of the next frame as `push` does, in camera axes and float64."""
        self.frames.append(np.concatenate([self.camera.rays(frame[:, :2]), frame[:, 2:]], axis=-1))
        self.pushed += 1
        array, inside = self._window()
        window = torch.from_numpy(with_missing_estimated(array)[None]).to(self.lifter.device)
        real = torch.arange(len(array), device=window.device) < inside
        with torch.inference_mode():
            poses, size = lift_windows(self.lifter, window, real[None])
        pose = poses[0, inside - 1].cpu().numpy().astype(np.float64)
        return self._fitted(pose, float(size), frame[:, 2])

    def _window(self) -> tuple[np.ndarray, int]:
        """Return a window (T, 17, 3) of rays and confidence at the network's rate, and the number of its real frames.

        Real frames come first. Copies of the last real frame fill the rest of the window.
        """
        length = self.lifter.window
        inside = min(length, int((self.pushed - 1) / self.step + 1e-6) + 1)
        place = len(self.frames) - 1 - self.step * np.arange(inside - 1, -1, -1)
        window = keypoints_at(np.stack(self.frames), np.maximum(place, 0))
        return np.concatenate((window, np.repeat(window[-1:], length - inside, axis=0))), inside

    def _fitted(self, pose: np.ndarray, size: float, confidence: np.ndarray) -> np.ndarray:
        """Return the pose in metres, with the mean bone lengths so far, filtered."""
        if (confidence > 0).any():
            self.measured = min(self.measured + 1, _AVERAGED)
            lengths = bone_lengths(pose[None], confidence[None])
            self.mean_bones = self.mean_bones + (lengths - self.mean_bones) / self.measured
        metres = metres_per_unit(self.mean_bones, self.height, self.bones)
        self.size = size / metres
        pose = with_lengths(pose[None], self.mean_bones)[0] * metres
        return pose if self.one_euro is None else self.one_euro.follow(pose)
