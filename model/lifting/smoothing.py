"""Motion over time: another rate, and what is too fast for a body taken away.

Notable decisions:
- the smoother is Whittaker's (Eilers, "A perfect smoother", Anal. Chem. 75, 2003): the sequence that least departs
  from the given one, each value by its weight, and whose differences of `order` are small. Of equal weights its
  response is 1 / (1 + (sin(w / 2) / sin(w_c / 2))^(2 order)): a Butterworth filter of that order, run forth and back,
  without its transients at the ends. With weights it leans on what was seen well, and needs no gap filled;
- it is a banded system of linear equations: time and memory grow with the frames and not faster;
- live, where nothing that comes later is known, the one-euro filter (Casiez et al., CHI 2012).
"""

import numpy as np
from scipy.linalg import solveh_banded

from data_contracts.parameters import OneEuroParameters

SAME_RATE = 0.02  # rates that differ by a smaller share are taken for one: 59.94 and 60
_UNSEEN = 0.05  # weight of a joint that was not seen, beside 1 of one that surely was
_LEAST_WEIGHT = 1e-3  # of the mean one: the equations stay well-conditioned
_STIFFEST = 1e9  # of the penalty, for the same: of order 2, 0.5 Hz at 560 frames a second
_MOST_BETWEEN = 60  # frames put between two: of a frame a minute, memory would know no bound


def smooth(values: np.ndarray, weights: np.ndarray, cutoff_hz: float, fps: float, order: int = 2) -> np.ndarray:
    """Low-pass over time without a lag.

    Parameters
    ----------
    values
        (frames, ...).
    weights
        (frames,), not negative: how far each frame is believed; only their ratios count.
    cutoff_hz
        Where half of the amplitude is left; from half of `fps` on nothing is done.
    order
        Of the differences: twice it is the order of the fall-off.

    Returns
    -------
    ndarray
        As `values`, float64.
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
    middle = flat.mean(axis=0)  # kept as it is, whatever the rounding
    rest = np.asarray(solveh_banded(banded, (flat - middle) * weights[:, None], lower=True))
    return (rest + middle).reshape(values.shape)


def smooth_joints(pose: np.ndarray, confidence: np.ndarray, cutoff_hz: float, fps: float, order: int) -> np.ndarray:
    """Each joint of poses (frames, 17, 3) as `smooth` does, believed as its confidence (frames, 17) says."""
    weights = np.maximum(confidence, _UNSEEN)
    joints = range(pose.shape[1])
    return np.stack([smooth(pose[:, j], weights[:, j], cutoff_hz, fps, order) for j in joints], axis=1)


def _difference_bands(frames: int, order: int) -> np.ndarray:
    """The lower bands (order + 1, frames) of D'D, D the differences of that order."""
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
    """The one-euro filter of one stream of arrays; `follow` takes the next one and returns it smoothed.

    Parameters
    ----------
    fps
        Arrays per second.
    min_cutoff_hz
        Of what stands still: lower trembles less.
    beta
        How the cutoff rises with speed, per unit: higher lags less.
    """

    def __init__(self, fps: float, min_cutoff_hz: float, beta: float) -> None:
        self.fps, self.min_cutoff_hz, self.beta = fps, min_cutoff_hz, beta
        self.value: np.ndarray | None = None
        self.speed = np.zeros(())

    def follow(self, value: np.ndarray) -> np.ndarray:
        """The next array, smoothed."""
        if self.value is None:
            self.value, self.speed = value.astype(np.float64), np.zeros(value.shape)
            return self.value
        self.speed = self.speed + self._share(1.0) * ((value - self.value) * self.fps - self.speed)
        cutoff = self.min_cutoff_hz + self.beta * np.abs(self.speed)
        self.value = self.value + self._share(cutoff) * (value - self.value)
        return self.value

    def _share(self, cutoff_hz: float | np.ndarray) -> np.ndarray:
        turn = 2 * np.pi * np.asarray(cutoff_hz) / self.fps
        return np.asarray(turn / (turn + 1))


def follow(values: np.ndarray, fps: float, filtering: OneEuroParameters) -> np.ndarray:
    """Values (frames, ...) through a one-euro filter, one after the other."""
    one_euro = OneEuro(fps, filtering.min_cutoff_hz, filtering.beta)
    return np.stack([one_euro.follow(value) for value in values])


def resampled_rate(fps: float, wanted: float) -> float:
    """The rate nearest to `wanted` that frames at `fps` are brought to: what is far slower stays below it."""
    return min(wanted, _MOST_BETWEEN * fps)


def resample_seen(pose_2d: np.ndarray, fps: float, wanted: float) -> np.ndarray:
    """Keypoints (frames, 17, 3) at another rate: on the line between two frames; missing where either is.

    The times are i / `wanted` from the first frame, up to the last that is not after the last frame.
    """
    before, share = _places(len(pose_2d), fps, wanted)
    after = np.minimum(before + 1, len(pose_2d) - 1)
    share = share[:, None, None]
    line = pose_2d[before] * (1 - share) + pose_2d[after] * share
    first, second = pose_2d[before][..., 2:], pose_2d[after][..., 2:]
    seen = ((first > 0) | (share == 1)) & ((second > 0) | (share == 0))
    return np.where(seen, line, 0).astype(np.float32)


def resample_back(values: np.ndarray, fps: float, wanted: float, frames: int) -> np.ndarray:
    """Values (n, ...) at `fps` on `frames` times i / `wanted`, on the line between two; the last holds at the end."""
    place = np.minimum(np.arange(frames) * fps / wanted, len(values) - 1)
    before = np.minimum(place.astype(int), max(len(values) - 2, 0))
    share = (place - before).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(values[before] * (1 - share) + values[np.minimum(before + 1, len(values) - 1)] * share)


def _places(frames: int, fps: float, wanted: float) -> tuple[np.ndarray, np.ndarray]:
    """The frame before each time, and the share in [0, 1] of the way to the next one."""
    place = np.arange(int((frames - 1) * wanted / fps + 1e-6) + 1) * fps / wanted
    place = np.where(np.abs(place - np.rint(place)) < 1e-6, np.rint(place), place)
    before = np.minimum(place.astype(int), frames - 1)
    return before, place - before
