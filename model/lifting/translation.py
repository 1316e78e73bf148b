"""Estimate the path of the pelvis: the translation that fits the pose to the keypoints, by least squares.

In camera axes a joint (x, y, z) of the pose, moved by t = (X, Y, Z), projects to u = (x + X) / (z + Z) and
v = (y + Y) / (z + Z). Both are linear in t: X - u Z = u z - x, Y - v Z = v z - y, two equations per joint (Mehta et
al., "VNect", SIGGRAPH 2017, section 4.3, in perspective). A second solution with weights 1 / (z + Z)^2 minimises the
error in the image.

- X and Y depend on Z, which is by far the least certain. So Z is smoothed first, with the inverse variance of each
  frame as its weight. Then X and Y are solved again.
- The standard deviations come from the residuals in the image and exclude errors that are constant over a track.
"""

from dataclasses import dataclass

import numpy as np

from model.lifting.smoothing import smooth

NEAREST_M = 0.3  # smallest distance between camera and pelvis
_LEAST_JOINTS = 4  # smallest number of detected joints in a frame with its own translation
_IMAGE_ERROR = 2e-3  # smallest error of keypoints, share of the focal length (2 px of 1000)


@dataclass(frozen=True)
class RootPath:
    """Pelvis (frames, 3), metres in camera axes, its standard deviation, and `perspective`, `weak` or `none`."""

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
    """Return the path of the pelvis; if no frame has an estimate, zeros with infinite deviations and camera `none`.

    Parameters
    ----------
    pose
        (frames, 17, 3) metres, camera axes, relative to the pelvis.
    rays, confidence
        `rays` (frames, 17, 2): x / z and y / z of the keypoints; `confidence` (frames, 17): 0 where missing.
    size
        (frames,): image length of one metre at the body, in focal lengths; see `lift_track`.
    camera
        `perspective`; `weak`: the distance follows from `size` alone; `auto`: weak if perspective fails.
    cutoffs
        Cutoff frequencies of the smoothing, Hz: across the image, and of the distance. If None, nothing is smoothed.
    causal
        If true, frames without an estimate get the previous position; if false, they are interpolated.
    """
    weights = confidence**2
    enough = (confidence > 0).sum(axis=1) >= _LEAST_JOINTS
    depth, variance, camera = _depth(pose, rays, weights, size, enough, camera)
    known = np.isfinite(depth) & np.isfinite(variance)
    if not known.any():
        return RootPath(np.zeros((len(pose), 3)), np.full((len(pose), 3), np.inf), "none")
    depth = _filled(depth, known, causal)
    std = np.sqrt(np.where(known, variance, np.inf))
    if cutoffs is not None:
        depth = smooth(depth, np.where(known, 1 / np.maximum(variance, 1e-9), 0), cutoffs[1], fps)
    depth = np.maximum(depth, NEAREST_M)
    across = _mean(rays * (pose[..., 2:] + depth[:, None, None]) - pose[..., :2], weights[..., None])[:, 0]
    seen = weights.sum(axis=1) > 0
    across = np.stack([_filled(across[:, axis], seen, causal) for axis in range(2)], axis=1)
    if cutoffs is not None:
        across = smooth(across, weights.sum(axis=1), cutoffs[0], fps)
    off_axis = np.abs(across) / depth[:, None]
    across_std = np.hypot(off_axis * std[:, None], (_IMAGE_ERROR * 2 * depth)[:, None])
    return RootPath(np.column_stack([across, depth]), np.column_stack([across_std, std]), camera)


def _depth(
    pose: np.ndarray, rays: np.ndarray, weights: np.ndarray, size: np.ndarray, enough: np.ndarray, camera: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return Z, NaN where unknown, its variance, (frames,) each, and the camera model of the estimate."""
    if camera != "weak":
        depth, variance = _perspective_depth(pose, rays, weights)
        usable = enough & np.isfinite(depth) & (depth > NEAREST_M)
        if camera == "perspective" or usable.sum() > 0.8 * max(enough.sum(), 1):
            return np.where(usable, depth, np.nan), variance, "perspective"
    depth = 1 / size
    return np.where(enough & np.isfinite(depth), depth, np.nan), (0.1 * depth) ** 2, "weak"


def _perspective_depth(pose: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Z and its variance, (frames,) each, with X and Y eliminated; NaN or infinite where undetermined."""
    scale = np.ones(weights.shape)
    for _ in range(3):
        w = (weights * scale)[..., None]
        a = -(rays - _mean(rays, w))  # (frames, 17, 2): column of Z after elimination
        right = rays * pose[..., 2:] - pose[..., :2]
        b = right - _mean(right, w)
        with np.errstate(divide="ignore", invalid="ignore"):
            square = (w * a * a).sum(axis=(1, 2))
            depth = (w * a * b).sum(axis=(1, 2)) / square
            residual = b - a * depth[:, None, None]
            free = np.maximum(2 * (weights > 0).sum(axis=1) - 3, 1)
            seen = w / np.maximum(w.max(axis=1, keepdims=True), 1e-12)
            error = (seen * residual * residual).sum(axis=(1, 2)) / free
            distance = np.maximum(pose[..., 2] + depth[:, None], NEAREST_M)
            error = np.maximum(error, (_IMAGE_ERROR * distance.mean(axis=1)) ** 2)
            variance = error / (seen * a * a).sum(axis=(1, 2))
        scale = 1 / np.where(np.isfinite(distance), distance, 1.0) ** 2
    return depth, variance


def _filled(values: np.ndarray, known: np.ndarray, causal: bool) -> np.ndarray:
    """Return values (frames,) with gaps filled: by the last known value if `causal`, otherwise by interpolation."""
    frames, at = np.arange(len(values)), np.flatnonzero(known)
    if causal:
        return np.asarray(values[at[np.maximum(np.searchsorted(at, frames, side="right") - 1, 0)]])
    return np.interp(frames, at, values[at])


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of `values` over the joints, weighted by `weights`: (frames, 1, n); 0 if all weights are 0."""
    return np.asarray((values * weights).sum(axis=1, keepdims=True) / np.maximum(weights.sum(axis=1)[:, None], 1e-12))
