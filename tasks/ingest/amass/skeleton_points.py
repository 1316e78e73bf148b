"""Place the 17 H36M joints on the skeleton of SMPL-H or SMPL-X, for users without a regressor of these joints.

Knees, ankles, shoulders, elbows and wrists are joints of the model. The remaining joints have the definitions of the
project (`data_contracts.detector_skeletons`, measured on CMU's clips).

- The pelvis is the midpoint of the hips, as Human3.6M defines its root.
- The hips are 1.3 times as far apart as in the model: its mean body has 137 mm between the hips, but an adult has
  180 mm (`data_contracts.skeleton.ADULT_BONES_M`).
- The spine is halfway from the pelvis to the thorax on the model's spine, and the thorax is between neck and shoulders.
- Nose and head are fixed to the model's head joint. In trunk lengths (hips to shoulders), the nose is 0.25 above the
  shoulders and 0.23 in front of them, the head 0.55 above and 0.11 in front.

The mean body was taken from the joint offsets of `smpl_humanoid.xml` (github.com/ZhengyiLuo/PHC), which are SMPL's.
"""

import numpy as np

SKELETON = "skeleton"  # instead of the name of a regressor
_HIPS_APART = 1.3
_NOSE, _HEAD = (0.0, 0.035, 0.12), (0.0, 0.32, -0.02)  # from the head's joint, in trunk lengths: left, up, forward

# Bones of the body, the same in SMPL-H and SMPL-X.
_PELVIS, _LEFT_HIP, _RIGHT_HIP, _SPINE_1, _LEFT_KNEE, _RIGHT_KNEE, _SPINE_2, _LEFT_ANKLE, _RIGHT_ANKLE = range(9)
_NECK, _HEAD_BONE, _LEFT_SHOULDER, _RIGHT_SHOULDER = 12, 15, 16, 17
_LEFT_ELBOW, _RIGHT_ELBOW, _LEFT_WRIST, _RIGHT_WRIST = 18, 19, 20, 21

# (H36M joint, bone, weight): joints that are joints of the model, or weighted means of several
_OWN = (
    (2, _RIGHT_KNEE, 1.0), (3, _RIGHT_ANKLE, 1.0), (5, _LEFT_KNEE, 1.0), (6, _LEFT_ANKLE, 1.0),
    (7, _SPINE_1, 0.4), (7, _SPINE_2, 0.6),
    (8, _NECK, 0.5), (8, _LEFT_SHOULDER, 0.25), (8, _RIGHT_SHOULDER, 0.25),
    (11, _LEFT_SHOULDER, 1.0), (12, _LEFT_ELBOW, 1.0), (13, _LEFT_WRIST, 1.0),
    (14, _RIGHT_SHOULDER, 1.0), (15, _RIGHT_ELBOW, 1.0), (16, _RIGHT_WRIST, 1.0),
)  # fmt: skip
_FIXED = ((0, _PELVIS), (1, _PELVIS), (4, _PELVIS), (9, _HEAD_BONE), (10, _HEAD_BONE))  # (joint, bone)


def skeleton_points(rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return joint, bone, weight (pairs,) and weighted point (pairs, 3), for a skeleton at rest (bones, 3).

    The axes at rest are x left, y up, z forward, in metres; see `tasks.ingest.amass.posing.SkinnedJoints`.
    """
    hips = (rest[_LEFT_HIP] + rest[_RIGHT_HIP]) / 2
    trunk = np.linalg.norm((rest[_LEFT_SHOULDER] + rest[_RIGHT_SHOULDER]) / 2 - hips)
    fixed = [
        hips,
        hips + _HIPS_APART * (rest[_RIGHT_HIP] - hips),
        hips + _HIPS_APART * (rest[_LEFT_HIP] - hips),
        rest[_HEAD_BONE] + trunk * np.array(_NOSE),
        rest[_HEAD_BONE] + trunk * np.array(_HEAD),
    ]
    joint, bone, weight = (np.array(column) for column in zip(*_OWN, *((*pair, 1.0) for pair in _FIXED), strict=True))
    point = np.concatenate([weight[: len(_OWN), None] * rest[bone[: len(_OWN)]], fixed])
    return joint, bone, weight, point
