"""Recognise arrays of other skeletons by their number of joints, and convert them to the 17 joints.

Sources of the orders: for SMPL, smplx, joint_names.py; HumanML3D has the first 22 joints of SMPL. For Human3.6M's 32
joints, VideoPose3D, common/h36m_dataset.py, which removes the static joints 4, 5, 9-11, 16, 20-24 and 28-31. For
MPI-INF-3DHP's 28 joints, mpii_get_joint_set.m of the data set; the head joint of this set is used as the nose.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.skeleton import NUM_JOINTS
from tasks.ingest.formats.body import across, tilted, to_h36m, unit
from tasks.ingest.formats.names import LIMB_JOINTS

H36M_32_TO_17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_3DHP_TO_17 = (4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16)
_SMPL = dict(zip(LIMB_JOINTS, (1, 4, 7, 16, 18, 20, 2, 5, 8, 17, 19, 21), strict=True)) | {"neck": 12, "head": 15}
_SMPL_NECK_DEG = 38.0  # in SMPL's mean body, the bone from neck to head leans forward by this angle


@dataclass(frozen=True)
class JointSet:
    """A skeleton with its name, and the function that converts (frames, joints, 3) to (frames, 17, 3)."""

    name: str
    convert: Callable[[np.ndarray], np.ndarray]


def _smpl(poses: np.ndarray) -> np.ndarray:
    if not len(poses):
        return poses[:, :NUM_JOINTS]
    points = {joint: poses[:, place].astype(np.float64) for joint, place in _SMPL.items()}
    up_and_forward = tilted(unit(points["head"] - points["neck"]), across(points), _SMPL_NECK_DEG)
    return to_h36m(points, up_and_forward)


JOINT_SETS: Mapping[int, JointSet] = {
    NUM_JOINTS: JointSet("Human3.6M", lambda poses: poses),
    32: JointSet("Human3.6M with all joints", lambda poses: poses.take(H36M_32_TO_17, axis=1)),
    22: JointSet("the body of SMPL, as in HumanML3D", _smpl),
    24: JointSet("SMPL", _smpl),
    28: JointSet("MPI-INF-3DHP", lambda poses: poses.take(_3DHP_TO_17, axis=1)),
}
# The 17 keypoints of COCO: `tasks.ingest.plan` distinguishes them from Human3.6M by the bones
COCO = JointSet("COCO", lambda poses: SKELETONS[Detector.COCO17].weights @ poses)


def is_joints_axis(shape: tuple[int, ...]) -> tuple[bool, bool]:
    """Return, for each of the first two axes of a clip, whether its length is a known number of joints."""
    counts = {NUM_JOINTS, 32} if NUM_JOINTS in shape[:2] else {*JOINT_SETS}  # a short clip may have 22 frames
    return shape[0] in counts, shape[1] in counts
