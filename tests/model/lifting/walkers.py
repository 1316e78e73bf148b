"""Test data of lifting: a person who walks in front of a known camera, and a network with a known output."""

import numpy as np
import torch
from torch import nn

from data_contracts.parameters import Projection
from data_contracts.tracks.track import Track
from model.lifting.cameras import PinholeCamera
from model.lifting.lifter import Lifter
from model.lifting.skeleton_fit import bone_lengths, stature_of
from tasks.convert.cameras import Camera, rotation_matrix

WIDTH, HEIGHT, FOV_DEG = 1280, 720, 60.0
FOCAL = WIDTH / 2 / np.tan(np.deg2rad(FOV_DEG) / 2)
CAMERA = PinholeCamera(FOCAL, (WIDTH / 2, HEIGHT / 2), WIDTH, HEIGHT, "known", "field of view")


def before_a_camera(walking, pitch_deg=8.0, aside=0.0, distance=5.0, yaw=0.6):
    """Return the walk in camera axes, metres: (frames, 17, 3)."""
    rotation = rotation_matrix(yaw, np.deg2rad(pitch_deg))
    centre = walking[:, 0].mean(axis=0)
    position = centre - distance * (rotation[2] + aside * rotation[0])
    return Camera(rotation, position, Projection.PERSPECTIVE).to_camera(walking.astype(np.float64))


def seen(joints):
    """Return keypoints (frames, 17, 3): pixels, confidence 1."""
    points = joints[..., :2] / joints[..., 2:] * FOCAL + (WIDTH / 2, HEIGHT / 2)
    return np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1).astype(np.float32)


def track_of(joints, fps=60.0, video="", **changes):
    """Return the track of a detector without errors."""
    pose_2d = seen(joints)
    given = {"interpolated": np.zeros(pose_2d.shape[:2], bool), "fps": fps, "width": WIDTH, "height": HEIGHT}
    return Track(video, -1, 0, pose_2d, **(given | changes))


def stature(joints):
    """Return the height of a body, metres."""
    return stature_of(bone_lengths(joints, np.ones(joints.shape[:2])))


class Flat(nn.Module):
    """Returns the image: the same x, y, and depth 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pose_2d):
        return torch.cat((pose_2d[..., :2], torch.zeros_like(pose_2d[..., :1])), dim=-1) + self.weight


def flat_lifter(window=9, fps=60.0):
    return Lifter(Flat(), window, fps)
