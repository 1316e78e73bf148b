"""Smooth motion over time and resample it to another frame rate.

- The smoother is Whittaker's (Eilers, "A perfect smoother", Anal. Chem. 75, 2003): it minimises the weighted distance
  to the input plus a penalty on the differences of order `order`. With equal weights its response is
  1 / (1 + (sin(w / 2) / sin(w_c / 2))^(2 order)). This is a Butterworth filter of that order, forward and backward,
  without transients at the ends. The result follows the frames with high weights, so gaps need not be filled.
- The smoother is a banded system of linear equations: time and memory are linear in the number of frames.
- Causal lifting uses the one-euro filter (Casiez et al., CHI 2012).
"""

import numpy as np
from scipy.linalg import solveh_banded

from data_contracts.parameters import OneEuroParameters

_SAME_RATE = 0.02  # rates that differ by a smaller share count as equal (59.94 and 60)
_UNSEEN = 0.05  # weight of an undetected joint; a certain joint has weight 1
_LEAST_WEIGHT = 1e-3  # smallest weight / mean weight, so that the equations stay well-conditioned
_STIFFEST = 1e9  # largest penalty, for the same reason: order 2, 0.5 Hz at 560 frames per second
_MOST_BETWEEN = 60  # largest number of frames interpolated per input frame; it limits the memory


def smooth(values: np.ndarray, weights: np.ndarray, cutoff_hz: float, fps: float, order: int = 2) -> np.ndarray:
    """Return values (frames, ...) after a low-pass filter over time without lag, in float64.

    Parameters
    ----------
    weights
        (frames,), at least 0: confidence in each frame. Only ratios of weights have an effect.
    cutoff_hz
        Frequency at which half of the amplitude remains. With a cutoff of at least `fps` / 2, or with at
        most `order` frames, nothing is filtered.
    order
        Order of the differences; above the cutoff the amplitude falls with the power 2 `order` of the frequency.
    """
    frames = len(values)
    if frames <= order or cutoff_hz >= fps / 2:
        return values.astype(np.float64)
    penalty = min((2 * np.sin(np.pi * cutoff_hz / fps)) ** (-2.0 * order), _STIFFEST)
    weights = weights / max(float(weights.mean()), 1e-12)
    weights = np.maximum(weights, _LEAST_WEIGHT)
    banded = penalty * _difference_bands(frames, order)
    banded[0] += weights
    flat = values.reshape(frames, -1).astype(np.float64)
    mean = flat.mean(axis=0)  # filtered separately, so that rounding does not change it
    rest = np.asarray(solveh_banded(banded, (flat - mean) * weights[:, None], lower=True))
    return (rest + mean).reshape(values.shape)


def smooth_joints(pose: np.ndarray, confidence: np.ndarray, cutoff_hz: float, fps: float, order: int) -> np.ndarray:
    """Return poses (frames, 17, 3) with each joint smoothed by `smooth`, weighted by its confidence (frames, 17)."""
    weights = np.maximum(confidence, _UNSEEN)
    joints = range(pose.shape[1])
    return np.stack([smooth(pose[:, j], weights[:, j], cutoff_hz, fps, order) for j in joints], axis=1)


def _difference_bands(frames: int, order: int) -> np.ndarray:
    """Return the lower bands (order + 1, frames) of the matrix D'D, where D computes differences of `order`."""
    coefficients = np.array([1.0])
    for _ in range(order):
        coefficients = np.convolve(coefficients, [1.0, -1.0])
    bands = np.zeros((order + 1, frames))
    for row in range(order + 1):
        for first in range(order + 1 - row):
            product = coefficients[first] * coefficients[first + row]
            bands[row, first : first + frames - order] += product
    return bands


class OneEuro:
    """One-euro filter of a stream of arrays, `fps` per second."""

    def __init__(self, fps: float, parameters: OneEuroParameters) -> None:
        self.fps, self.min_cutoff_hz, self.beta = fps, parameters.min_cutoff_hz, parameters.beta
        self.value: np.ndarray | None = None
        self.speed = np.zeros(())

    def follow(self, value: np.ndarray) -> np.ndarray:
        """Return the smoothed array for `value`, the next array of the stream."""
        if self.value is None:
            self.value, self.speed = value.astype(np.float64), np.zeros(value.shape)
            return self.value
        self.speed = self.speed + self._share(1.0) * ((value - self.value) * self.fps - self.speed)
        cutoff = self.min_cutoff_hz + self.beta * np.abs(self.speed)
        self.value = self.value + self._share(cutoff) * (value - self.value)
        return self.value

    def _share(self, cutoff_hz: float | np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * np.asarray(cutoff_hz) / self.fps
        return np.asarray(angle / (angle + 1))


def follow(values: np.ndarray, fps: float, filtering: OneEuroParameters) -> np.ndarray:
    """Return values (frames, ...), `fps` per second, after a one-euro filter."""
    one_euro = OneEuro(fps, filtering)
    return np.stack([one_euro.follow(value) for value in values])


def resampled_rate(fps: float, target_fps: float) -> float:
    """Return `target_fps`, at most `_MOST_BETWEEN` times `fps`; return `fps` if both rates are nearly equal."""
    return fps if abs(fps / target_fps - 1) < _SAME_RATE else min(target_fps, _MOST_BETWEEN * fps)


def resample_seen(pose_2d: np.ndarray, fps: float, target_fps: float) -> np.ndarray:
    """Return keypoints (frames, 17, 3) interpolated from `fps` to `target_fps`, up to the time of the last frame."""
    return keypoints_at(pose_2d, np.arange(int((len(pose_2d) - 1) * target_fps / fps + 1e-6) + 1) * fps / target_fps)


def keypoints_at(pose_2d: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Interpolate keypoints by `values_at`; a keypoint that is missing in a frame used for it becomes 0, 0, 0."""
    place = np.where(np.abs(place - np.rint(place)) < 1e-6, np.rint(place), place)
    missing = values_at((pose_2d[..., 2:] <= 0).astype(np.float64), place) > 0
    return np.where(missing, 0, values_at(pose_2d, place)).astype(np.float32)


def values_at(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return `values` (frames, ...) interpolated linearly at frames `place` (n,); after the end, the last value."""
    last = len(values) - 1
    place = np.minimum(place, last)
    before = place.astype(int)
    share = (place - before).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(values[before] * (1 - share) + values[np.minimum(before + 1, last)] * share)
