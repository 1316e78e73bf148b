"""Motions to export: synthetic walks, and bodies with constant bones and arbitrary directions."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES, JOINTS
from tasks.lifting.exports.rig import REST_DIRECTIONS


def motion_of(joints: np.ndarray, fps: float = 60.0) -> Motion:
    """Return a motion of joints (frames, 17, 3) in the world, metres; every optional value is missing somewhere."""
    frames = len(joints)
    rng = np.random.default_rng(frames)
    pose_2d = np.stack([960 + 300 * joints[..., 0], 800 - 300 * joints[..., 2], np.ones(joints.shape[:2])], axis=-1)
    pose_2d[:, 10] = np.nan
    root_std = np.full((frames, 3), 0.05, np.float32)
    root_std[:, 1], root_std[0] = np.inf, np.nan
    confidence = rng.uniform(size=(frames, 17)).astype(np.float32)
    confidence[:, 10] = 0
    return Motion(
        name="person-0",
        fps=fps,
        pose_3d=(joints - joints[:, :1]).astype(np.float32),
        root=joints[:, 0].astype(np.float32),
        root_std=root_std,
        confidence=confidence,
        interpolated=rng.uniform(size=(frames, 17)) < 0.1,
        pose_2d=pose_2d.astype(np.float32),
        first_frame=12,
        person=3,
        about={"model": "pose-uplift@champion", "scale": {"std": float("inf"), "tried": [1.0, float("nan")]}},
    )


def tumbling(seed: int, frames: int = 40) -> np.ndarray:
    """Return joints (frames, 17, 3) of a body with constant bones that turn smoothly to any direction."""
    rng = np.random.default_rng(seed)
    directions = gaussian_filter1d(rng.normal(size=(frames, len(BONES), 3)), 10, axis=0, mode="wrap")
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    root = rng.uniform(-3, 3, 3) + np.cumsum(rng.normal(scale=0.01, size=(frames, 3)), axis=0)
    return chained(directions, rng.uniform(0.05, 0.4, len(BONES))) + root[:, None]


def chained(directions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return joints (frames, 17, 3) of bones along unit vectors (frames, 16, 3), the pelvis at the origin."""
    joints = np.zeros((len(directions), 17, 3))
    for bone, (parent, child) in enumerate(BONES):
        joints[:, child] = joints[:, parent] + lengths[bone] * directions[:, bone]
    return joints


def resting(frames: int, **bones: np.ndarray) -> np.ndarray:
    """Return joints (frames, 17, 3) of the rest pose with directions (frames, 3) of `bones`, by their end joint."""
    directions = np.tile(
        np.stack([REST_DIRECTIONS[:, 0], -REST_DIRECTIONS[:, 2], REST_DIRECTIONS[:, 1]], 1), (frames, 1, 1)
    )
    for joint, pointed in bones.items():
        bone = [child for _, child in BONES].index(JOINTS.index(joint))
        directions[:, bone] = pointed / np.linalg.norm(pointed, axis=-1, keepdims=True)
    return chained(directions, np.full(len(BONES), 0.3))


def y_up_by_hand(joints: np.ndarray) -> np.ndarray:
    """Return world points (..., 3) with y up, by a matrix: a quarter turn about x that brings z to y."""
    return joints @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T
