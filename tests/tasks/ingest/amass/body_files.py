"""Generated body models and motion files with the keys of AMASS; the real ones have a licence."""

from pathlib import Path
from typing import Any

import numpy as np

SMPLH_BONES, SMPLX_BONES = 52, 55
NOSE, HEAD = (0.0, 0.02, 0.065), (0.0, 0.17, -0.01)  # from the head's joint: left, up, forward, metres

# Parent and offset of SMPL's bones: forward, left, up, metres. Source: smpl_humanoid.xml, github.com/ZhengyiLuo/PHC.
_BODY = [
    (-1, 0, 0, 0), (0, -0.0068, 0.0695, -0.0914), (0, -0.0043, -0.0677, -0.0905), (0, -0.0267, -0.0025, 0.109),
    (1, -0.0045, 0.0343, -0.3752), (2, -0.0089, -0.0383, -0.3826), (3, 0.0011, 0.0055, 0.1352),
    (4, -0.0437, -0.0136, -0.398), (5, -0.0423, 0.0158, -0.3984), (6, 0.0254, 0.0015, 0.0529),
    (7, 0.1193, 0.0264, -0.0558), (8, 0.1233, -0.0254, -0.0481), (9, -0.0429, -0.0028, 0.2139),
    (9, -0.0341, 0.0788, 0.1217), (9, -0.0386, -0.0818, 0.1188), (12, 0.0513, 0.0052, 0.065),
    (13, -0.0089, 0.091, 0.0305), (14, -0.0091, -0.096, 0.0326), (16, -0.0275, 0.2596, -0.0128),
    (17, -0.0214, -0.2537, -0.0133), (18, -0.0012, 0.2492, 0.009), (19, -0.0056, -0.2553, 0.0078),
]  # fmt: skip
_FACE = [(15, 0.02, 0, -0.02), (15, 0.06, 0.03, 0.05), (15, 0.06, -0.03, 0.05)]
_COLUMNS = {SMPLH_BONES: 16, SMPLX_BONES: 400}


def bones_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return parents (bones,) and places (bones, 3) at rest, in SMPL's axes: left, up, forward."""
    bones = [*_BODY, *(_FACE if count == SMPLX_BONES else [])]
    for wrist, side in ((20, 1), (21, -1)):
        for finger in range(5):
            first = len(bones)
            bones += [
                (wrist if part == 0 else first + part - 1, 0.02 * finger - 0.04, side * 0.04, 0) for part in range(3)
            ]
    parents, offsets = np.array([bone[0] for bone in bones]), np.array([bone[1:] for bone in bones], float)
    places = np.array([0.0, 0.0, 0.0]) + offsets
    for bone in range(1, len(bones)):
        places[bone] = places[parents[bone]] + offsets[bone]
    places += [0.028, 0.0, -0.223]  # SMPL's origin is not its pelvis
    return parents, places[:, [1, 2, 0]]


def body_model(bones: int = SMPLH_BONES, seed: int = 0, a_bone: int = 8) -> dict[str, np.ndarray]:
    """Return the arrays of a body model: `a_bone` vertices around each bone, and as many around nose and head."""
    random = np.random.default_rng(seed)
    parents, places = bones_of(bones)
    centres = np.concatenate([places, places[15] + np.array([NOSE, HEAD])])
    owners = np.repeat([*range(bones), 15, 15], a_bone)
    spread = random.normal(0, 0.03, (len(centres), a_bone // 2, 3))
    template = (centres[:, None] + np.concatenate([spread, -spread], axis=1)).reshape(-1, 3)
    weights = np.zeros((len(template), bones))
    for vertex, owner in enumerate(owners):
        near = [owner, max(parents[owner], 0), *np.flatnonzero(parents == owner)[:2]]
        weights[vertex, near] = random.dirichlet(np.linspace(3, 1, len(near)))
    weights /= weights.sum(axis=1, keepdims=True)
    shapes = (
        random.normal(0, 0.002, (len(centres), 1, 3, _COLUMNS[bones])).repeat(a_bone, 1).reshape(*template.shape, -1)
    )
    shapes[..., 0] = 0.03 * template
    kintree = np.stack([parents, np.arange(bones)]).astype(np.uint32)  # -1 becomes 2^32 - 1, as in the real files
    return {
        "v_template": template,
        "shapedirs": shapes,
        "posedirs": random.normal(0, 1e-3, (*template.shape, 9 * (bones - 1))),
        "J_regressor": (owners == np.arange(bones)[:, None]) * (np.arange(len(owners)) < bones * a_bone) / a_bone,
        "weights": weights,
        "kintree_table": kintree,
        "part2num": np.array({"Global": 0}, dtype=object),  # SMPL-X has objects, which are not read
    }


def regressor_of(model: dict[str, np.ndarray]) -> np.ndarray:
    """Return a regressor (17, vertices) of the H36M joints, whose rows sum to 1."""
    bones = model["J_regressor"]
    a_bone = int(1 / bones.max())
    nose, head = np.zeros((2, bones.shape[1]))
    nose[-2 * a_bone : -a_bone], head[-a_bone:] = 1 / a_bone, 1 / a_bone
    hips = (bones[1] + bones[2]) / 2
    legs, arms = [2, 5, 8, 1, 4, 7], [16, 18, 20, 17, 19, 21]
    return np.stack([hips, *bones[legs], (bones[3] + bones[6]) / 2, bones[12], nose, head, *bones[arms]])


def write_models(folder: Path, regressor: bool = True) -> Path:
    """Write SMPL-H models of both sexes and a neutral SMPL-X model, with a regressor for SMPL-H; return the folder."""
    for seed, gender in enumerate(("female", "male")):
        path = folder / "smplh" / gender / "model.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, **body_model(seed=seed))
    (folder / "smplx").mkdir()
    np.savez(folder / "smplx" / "SMPLX_NEUTRAL.npz", **body_model(SMPLX_BONES))
    if regressor:
        np.save(folder / "J_regressor_h36m.npy", regressor_of(body_model()))
    return folder


def walk(seconds: float, fps: float, bones: int = SMPLH_BONES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return poses (n, 3 x bones) and translations (n, 3) of a walk with z up; the fingers move too."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * fps)) / fps
    phase = 2 * np.pi * (0.9 + 0.2 * random.random()) * time + random.uniform(0, 6)
    poses = np.zeros((len(time), bones, 3))
    poses[:, 0] = [np.pi / 2, 0, 0]  # SMPL's y up becomes z up
    for side, hip, knee, shoulder, elbow in ((1, 1, 4, 16, 18), (-1, 2, 5, 17, 19)):
        poses[:, hip, 0] = -0.5 * side * np.sin(phase)
        poses[:, knee, 0] = 0.4 + 0.35 * side * np.sin(phase + 1)
        poses[:, shoulder, 2] = -1.2 * side
        poses[:, shoulder, 1] = 0.4 * np.sin(phase)
        poses[:, elbow, 1] = -0.4 * side
    poses[:, 22:] = 0.2 * np.sin(phase)[:, None, None] * random.normal(size=(bones - 22, 3))
    trans = np.stack([0.3 * np.sin(phase / 5), -1.1 * time, 0.95 + 0.02 * np.sin(2 * phase)], axis=1)
    return poses.reshape(len(time), -1), trans


def smplh_motion(seconds: float = 2.0, fps: float = 120.0, seed: int = 0, **changed: Any) -> dict[str, Any]:
    """Return the arrays of a motion file of SMPL-H."""
    poses, trans = walk(seconds, fps, seed=seed)
    betas = np.random.default_rng(seed).normal(0, 0.7, 16)
    arrays = {"poses": poses, "trans": trans, "betas": betas, "gender": np.array(b"male"), "mocap_framerate": fps}
    return arrays | {"dmpls": np.zeros((len(poses), 8))} | changed


def smplx_motion(seconds: float = 2.0, fps: float = 100.0, seed: int = 0, **changed: Any) -> dict[str, Any]:
    """Return the arrays of a motion file of SMPL-X, without `poses` and `dmpls`."""
    poses, trans = walk(seconds, fps, SMPLX_BONES, seed)
    betas = np.random.default_rng(seed).normal(0, 0.7, 16)
    arrays = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_jaw": poses[:, 66:69]}
    arrays |= {"pose_eye": poses[:, 69:75], "pose_hand": poses[:, 75:], "trans": trans, "betas": betas}
    arrays |= {
        "gender": np.array("neutral"),
        "mocap_frame_rate": np.array(fps),
        "surface_model_type": np.array("smplx"),
    }
    return arrays | {"labels_obs": np.array([["a"], ["b", "c"]], dtype=object)} | changed
