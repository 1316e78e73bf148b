"""Where the person is: the translation that brings the pose onto the keypoints, by least squares.

In camera axes a joint p = (x, y, z) of the pose, moved by t = (X, Y, Z), is seen at u = (x + X) / (z + Z), and likewise
v. Multiplied out this is linear in t: X - u Z = u z - x, Y - v Z = v z - y; two equations a joint, three unknowns
(Mehta et al., "VNect", SIGGRAPH 2017, section 4.3, in perspective). Weighted by 1 / (z + Z)^2, once again solved, it is
the error in the image that is least.

Notable decisions:
- X and Y follow from Z, and Z is much the least certain: it is smoothed first, each frame weighted by its variance, and
  X and Y are solved for again;
- its standard deviations are those of least squares, of the errors that remain in the image. They do not hold what is
  wrong for the whole track: a body or a focal length taken 5 % too large moves everything 5 % away.
"""

from dataclasses import dataclass

import numpy as np

from model.lifting.smoothing import smooth

NEAREST_M = 0.3  # between camera and pelvis
_LEAST_JOINTS = 4  # seen in a frame, for a translation of its own
_IMAGE_ERROR = 2e-3  # of a focal length: keypoints are no better (2 px of 1000)


@dataclass(frozen=True)
class RootPath:
    """The pelvis in camera axes, metres (frames, 3), its standard deviation (frames, 3), and how it was found."""

    position: np.ndarray
    std: np.ndarray
    camera: str


def find_root(
    pose: np.ndarray,
    rays: np.ndarray,
    confidence: np.ndarray,
    size: np.ndarray,
    fps: float,
    camera: str,
    cutoffs: tuple[float, float] | None,
    causal: bool = False,
) -> RootPath:
    """The way of the pelvis.

    Parameters
    ----------
    pose
        (frames, 17, 3) metres, camera axes, relative to the pelvis.
    rays
        (frames, 17, 2): x / z and y / z of the keypoints.
    confidence
        (frames, 17): 0 where missing.
    size
        (frames,): focal lengths a metre of the body, as the network sees it.
    camera
        `perspective`; `weak`: distance is told by size alone; `auto`: the first, or the second where it fails.
    cutoffs
        Of smoothing, Hz: across the image, and of the distance; none: not smoothed.
    causal
        Where a frame tells nothing the pelvis stays where it was; else it goes on a line to where it is seen next.
    """
    weights = confidence**2
    seen = (confidence > 0).sum(axis=1) >= _LEAST_JOINTS
    if camera != "weak":
        depth, variance = _perspective_depth(pose, rays, weights)
        usable = seen & np.isfinite(depth) & (depth > NEAREST_M)
        if camera == "perspective" or usable.sum() > 0.8 * max(seen.sum(), 1):
            depth = np.where(usable, depth, np.nan)
            return _with_depth(pose, rays, weights, depth, variance, fps, cutoffs, "perspective", causal)
    depth = 1 / size
    variance = (0.1 * depth) ** 2
    usable = seen & np.isfinite(depth)
    return _with_depth(pose, rays, weights, np.where(usable, depth, np.nan), variance, fps, cutoffs, "weak", causal)


def _perspective_depth(pose: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z of each frame and its variance, with X and Y eliminated; (frames,) each, NaN or infinite where undetermined."""
    depth = np.zeros(len(pose))
    variance = np.full(len(pose), np.inf)
    scale = np.ones(weights.shape)
    for _ in range(3):
        w = (weights * scale)[..., None]
        a = -(rays - _mean(rays, w))  # (frames, 17, 2): what is left of the column of Z
        right = rays * pose[..., 2:] - pose[..., :2]
        b = right - _mean(right, w)
        with np.errstate(divide="ignore", invalid="ignore"):
            square = (w * a * a).sum(axis=(1, 2))
            depth = (w * a * b).sum(axis=(1, 2)) / square
            rest = b - a * depth[:, None, None]
            free = np.maximum(2 * (weights > 0).sum(axis=1) - 3, 1)
            seen = w / np.maximum(w.max(axis=1, keepdims=True), 1e-12)
            error = (seen * rest * rest).sum(axis=(1, 2)) / free
            distance = np.maximum(pose[..., 2] + depth[:, None], NEAREST_M)
            error = np.maximum(error, (_IMAGE_ERROR * distance.mean(axis=1)) ** 2)
            variance = error / (seen * a * a).sum(axis=(1, 2))
        scale = 1 / np.where(np.isfinite(distance), distance, 1.0) ** 2
    return depth, variance


def _with_depth(
    pose: np.ndarray,
    rays: np.ndarray,
    weights: np.ndarray,
    depth: np.ndarray,
    variance: np.ndarray,
    fps: float,
    cutoffs: tuple[float, float] | None,
    camera: str,
    causal: bool,
) -> RootPath:
    known = np.isfinite(depth) & np.isfinite(variance)
    if not known.any():
        return RootPath(np.zeros((len(pose), 3)), np.full((len(pose), 3), np.inf), "none")
    depth = _filled(depth, known, causal)
    std = np.sqrt(np.where(known, variance, np.inf))
    if cutoffs is not None:
        believed = np.where(known, 1 / np.maximum(variance, 1e-9), 0)
        depth = smooth(depth, believed, cutoffs[1], fps)
    depth = np.maximum(depth, NEAREST_M)
    w = weights[..., None]
    across = _mean(rays * (pose[..., 2:] + depth[:, None, None]) - pose[..., :2], w)[:, 0]
    there = weights.sum(axis=1) > 0
    across = np.stack([_filled(across[:, axis], there, causal) for axis in range(2)], axis=1)
    if cutoffs is not None:
        across = smooth(across, weights.sum(axis=1), cutoffs[0], fps)
    off_axis = np.abs(across) / depth[:, None]
    across_std = np.hypot(off_axis * std[:, None], (_IMAGE_ERROR * 2 * depth)[:, None])
    return RootPath(np.column_stack([across, depth]), np.column_stack([across_std, std]), camera)


def _filled(values: np.ndarray, known: np.ndarray, causal: bool) -> np.ndarray:
    """Values (frames,) with those that are not known put in: the one before, or on a line to the one after as well."""
    frames, at = np.arange(len(values)), np.flatnonzero(known)
    if causal:
        return np.asarray(values[at[np.maximum(np.searchsorted(at, frames, side="right") - 1, 0)]])
    return np.interp(frames, at, values[at])


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the joints, (frames, 1, n); 0 where nothing weighs."""
    return np.asarray((values * weights).sum(axis=1, keepdims=True) / np.maximum(weights.sum(axis=1)[:, None], 1e-12))
