"""Generated files in the layouts of 3DPW, MPI-INF-3DHP and Human3.6M; the real ones have licences.

`walking` (frames, 17, 3) is in metres, world axes, z up.
"""

import h5py
import numpy as np

from data_contracts.detector_skeletons import Detector
from data_contracts.skeleton import JOINTS
from tasks.benchmarks.h36m_cameras import CAMERAS
from tasks.ingest.formats.joint_sets import H36M_32_TO_17
from tasks.ingest.formats.names import LIMB_JOINTS
from tests.model.lifting.walkers import before_a_camera
from tests.tasks.ingest.python2_pickles import python2_pickle
from tests.tasks.lifting.formats.writing import seen_by

FOCAL, CENTRE = 1000.0, np.array([960.0, 540.0])
JOINTS_3DHP = (
    *("head", "thorax", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "spine", "nose"),
)  # the benchmark names thorax neck, head head_top, and nose head
SMPL_LIMBS = (1, 4, 7, 16, 18, 20, 2, 5, 8, 17, 19, 21)  # SMPL's joints in the order of LIMB_JOINTS


def project(joints, focal=FOCAL, centre=CENTRE):
    """Return image points (..., 2) in pixels of joints (..., 3) in camera axes."""
    return joints[..., :2] / joints[..., 2:] * focal + centre


def h36m_world(walking):
    """Return the walk with its mean position in the middle of the cameras, and its 32 joints."""
    moved = walking - [*walking[:, 0, :2].mean(axis=0), 0]
    joints = np.repeat(moved[:, :1], 32, axis=1)
    joints[:, H36M_32_TO_17] = moved
    return joints.astype(np.float32)


def write_h36m(folder, walking, actions=("Walking 1", "Walking", "Eating"), name="data_2d_h36m_gt.npz", extra=3):
    """Write the two files of VideoPose3D's preprocessing; videos have `extra` frames after the motion."""
    folder.mkdir(exist_ok=True)
    world = h36m_world(walking)
    motion = dict.fromkeys(actions, world)
    subjects = {"S1": motion, "S9": motion, "S11": {actions[0]: world}}
    seen = {}
    for subject, cameras in CAMERAS.items():
        views = [h36m_view(world, camera, extra) for camera in cameras]
        seen[subject] = {action: [view.copy() for view in views] for action in subjects[subject]}
    symmetry = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": symmetry}
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=subjects)
    np.savez_compressed(folder / name, positions_2d=seen, metadata=metadata)
    return folder


def h36m_view(world, camera, extra=0):
    """Return the pixels (frames + extra, 17, 2) of the walk in a camera of Human3.6M."""
    fx, fy, cx, cy = camera.intrinsics
    points = project(camera.to_camera(world[:, H36M_32_TO_17]), (fx, fy), (cx, cy))
    return np.concatenate([points, np.repeat(points[-1:], extra, axis=0)]).astype(np.float32)


def annotations_3dhp(walking):
    """Return the arrays of a test sequence by their names in its .mat; every third frame is not valid."""
    joints = before_a_camera(walking)
    order = [JOINTS.index(name) for name in JOINTS_3DHP]
    return {
        "annot2": project(joints)[:, None, order],
        "univ_annot3": 1000 * joints[:, None, order],
        "valid_frame": (np.arange(len(joints)) % 3 > 0).astype(float)[:, None],
    }


def write_3dhp_mat(folder, walking, **changes):
    """Write `TS1/annot_data.mat` and `TS2/annot_data.mat`."""
    for sequence in ("TS1", "TS2"):
        (folder / sequence).mkdir(parents=True)
        with h5py.File(folder / sequence / "annot_data.mat", "w", userblock_size=512) as file:
            for name, array in (annotations_3dhp(walking) | changes).items():
                file.create_dataset(name, data=array, compression="gzip" if array.ndim else None)
    return folder


def write_3dhp_npz(folder, walking):
    """Write P-STMO's `data_test_3dhp.npz`."""
    folder.mkdir(exist_ok=True)
    one = annotations_3dhp(walking)
    packed = {"data_2d": one["annot2"][:, 0], "data_3d": one["univ_annot3"][:, 0], "valid": one["valid_frame"][:, 0]}
    np.savez_compressed(folder / "data_test_3dhp.npz", data={"TS1": packed, "TS2": packed})
    return folder


def sequence_3dpw(walking):
    """Return the content of a sequence with two people; the camera moves, and some frames have no keypoints or pose."""
    joints = before_a_camera(walking, pitch_deg=0.0)
    frames = len(joints)
    turn = np.deg2rad(np.linspace(0, 20, frames))
    to_camera = np.tile(np.eye(4), (frames, 1, 1))
    to_camera[:, 0, 0] = to_camera[:, 2, 2] = np.cos(turn)
    to_camera[:, 0, 2], to_camera[:, 2, 0] = np.sin(turn), -np.sin(turn)
    to_camera[:, :3, 3] = [0.1, 0.2, 0.3]
    world = np.einsum("tji,tkj->tki", to_camera[:, :3, :3], smpl_joints(joints) - to_camera[:, None, :3, 3])
    points = project(seen_by(Detector.COCO18, joints))
    keypoints = np.concatenate([points, np.full((*points.shape[:2], 1), 0.8)], axis=-1)
    keypoints[20:25] = 0
    valid = (np.arange(frames) >= 10).astype(np.int64)
    people = range(2)
    return {
        "sequence": "walk_00",
        "genders": ["m", "f"],
        "betas": [np.zeros(10) for _ in people],
        "poses": [np.zeros((frames, 72)) for _ in people],
        "jointPositions": [world.reshape(frames, 72) for _ in people],
        "poses2d": [np.ascontiguousarray(keypoints.transpose(0, 2, 1)) for _ in people],
        "campose_valid": [valid, np.zeros_like(valid)],
        "cam_poses": to_camera,
        "cam_intrinsics": np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]]),
    }


def smpl_joints(joints):
    """Return SMPL's 24 joints (frames, 24, 3) of H36M joints; the joints that are not read are at the pelvis."""
    smpl = np.repeat(joints[:, :1], 24, axis=1)
    smpl[:, SMPL_LIMBS] = joints[:, [JOINTS.index(joint) for joint in LIMB_JOINTS]]
    smpl[:, 12] = joints[:, JOINTS.index("thorax")]
    smpl[:, 15] = joints[:, JOINTS.index("thorax")] * 0.6 + joints[:, JOINTS.index("nose")] * 0.4
    return smpl


def write_3dpw(folder, walking, protocol=2, **changes):
    """Write `sequenceFiles/test/walk_00.pkl` as Python 2 does, and a sequence of the training split."""
    for split in ("train", "test"):
        (folder / "sequenceFiles" / split).mkdir(parents=True)
        data = python2_pickle(sequence_3dpw(walking) | changes, protocol)
        (folder / "sequenceFiles" / split / "walk_00.pkl").write_bytes(data)
    return folder
