"""Test data: a folder of videos with marker truth, of a person who walks in front of a known camera."""

import json

import numpy as np

from data_contracts.detector_skeletons import Detector
from data_contracts.motion.marker_truth import H36M_OF_TRUTH, TRUTH_JOINTS
from tests.model.lifting.walkers import FOCAL, HEIGHT, WIDTH, before_a_camera
from tests.tasks.lifting.formats.writing import seen_by

FPS = 60.0


def write_video(folder, walking, name="walk", without_truth=()):
    """Write the files of a clip; the detector's own 3D is the truth, relative to the hips, 10 % too small.

    `walking` (frames, 17, 3) is in metres, z up. `without_truth` are frames that are not valid.
    """
    joints = before_a_camera(walking, pitch_deg=0.0)
    points = seen_by(Detector.MEDIAPIPE33, joints)
    shares = points[..., :2] / points[..., 2:] * FOCAL / (WIDTH, HEIGHT) + 0.5
    frames = [[{"x": x, "y": y, "z": 0.0, "visibility": 1.0} for x, y in row] for row in shares.tolist()]
    keypoints = {"fps": FPS, "width": WIDTH, "height": HEIGHT, "frames": frames}
    (folder / f"{name}_mediapipe.json").write_text(json.dumps(keypoints))
    x, y, z = np.moveaxis(walking[:, H36M_OF_TRUTH].astype(np.float64), -1, 0)
    in_camera = joints[:, H36M_OF_TRUTH]
    np.savez(
        folder / f"{name}_truth.npz",
        joints=np.stack([x, z, -y], axis=-1),
        names=np.array(TRUTH_JOINTS),
        time=np.arange(len(walking)) / FPS,
        mediapipe_world=0.9 * (in_camera - in_camera[:, [0, 3]].mean(axis=1, keepdims=True)),
        valid=~np.isin(np.arange(len(walking)), without_truth),
    )
    return folder
