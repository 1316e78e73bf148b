"""Find contacts of feet with the floor: frames in which an ankle is low and does not move in the image."""

import numpy as np

from data_contracts.skeleton import JOINTS
from model.lifting.smoothing import smooth

ANKLES = (JOINTS.index("left_ankle"), JOINTS.index("right_ankle"))
_STILL_M_S = 0.25  # speed across the image, in metres at the distance of the body
_CUTOFF_HZ = 4.0
_LOW_M = 0.15  # largest height above the lowest joint of the frame
_SHORTEST_S = 0.15  # shorter contacts are errors of the detector
_WEAK = 0.3  # smallest confidence of an ankle, as a share of the person's median


def contacts_of(
    rays: np.ndarray, confidence: np.ndarray, depth: np.ndarray, heights: np.ndarray, fps: float
) -> np.ndarray:
    """Return the number of the contact in each frame: (frames, 2) int, left and right foot; -1 without a contact.

    Contacts of both feet are numbered together from 0.

    Parameters
    ----------
    rays, confidence
        `rays` (frames, 17, 2): x / z and y / z of the keypoints; `confidence` (frames, 17): 0 if missing.
    depth
        (frames,): distance of the body from the camera, metres.
    heights
        (frames, 17): estimated heights of the joints in metres; their zero is arbitrary.
    """
    contacts, count = np.full((len(rays), len(ANKLES)), -1), 0
    certain = np.median(confidence[confidence > 0]) if (confidence > 0).any() else 1.0
    lowest = np.where(confidence > 0, heights, np.inf).min(axis=1)
    for foot, ankle in enumerate(ANKLES):
        path = smooth(rays[:, ankle], np.maximum(confidence[:, ankle], 0.01), _CUTOFF_HZ, fps)
        speed = np.linalg.norm(np.gradient(path, axis=0), axis=-1) * fps * depth if len(path) > 1 else np.zeros(1)
        stands = (confidence[:, ankle] > _WEAK * certain) & (speed < _STILL_M_S)
        stands &= heights[:, ankle] < lowest + _LOW_M
        edges = np.flatnonzero(np.diff(np.concatenate([[False], stands, [False]])))
        for first, end in edges.reshape(-1, 2):
            if end - first >= _SHORTEST_S * fps:
                contacts[first:end, foot] = count
                count += 1
    return contacts


def ankle_speeds(joints: np.ndarray, confidence: np.ndarray, fps: float) -> np.ndarray:
    """Return the speeds (n, 2) of both ankles in m/s, for the n pairs of consecutive frames that show both ankles.

    `joints` (frames, 17, 3) are in metres; `confidence` is (frames, 17).
    """
    ankles = list(ANKLES)
    speeds = np.linalg.norm(np.diff(joints[:, ankles], axis=0), axis=-1) * fps
    seen = (confidence[1:, ankles] > 0).all(axis=1) & (confidence[:-1, ankles] > 0).all(axis=1)
    return np.asarray(speeds[seen])


def feet_speed(joints: np.ndarray, confidence: np.ndarray, fps: float) -> float:
    """Return the median speed of the slower foot in m/s; NaN if no two consecutive frames show both ankles.

    The speed is near 0 if the camera does not move, because a person nearly always has a foot on the floor. `joints`
    (frames, 17, 3) are in metres and fixed axes; `confidence` is (frames, 17).
    """
    speeds = ankle_speeds(joints, confidence, fps)
    return float(np.median(speeds.min(axis=1))) if len(speeds) else float("nan")
