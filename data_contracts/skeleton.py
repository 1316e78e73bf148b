"""The H36M skeleton of 17 joints: names, bones, adult bone lengths, mirror. Every pose has these joints in this order.

Source: Ionescu et al., Human3.6M (PAMI 2014), in the 17-joint order of VideoPose3D and MotionBERT.
"""

JOINTS = (
    "pelvis",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "spine", "thorax", "nose", "head",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
NUM_JOINTS = len(JOINTS)
PELVIS = 0

# (parent, child) index pairs, from the pelvis outward: a parent's bone comes before its children's.
BONES = (
    (0, 1), (1, 2), (2, 3),
    (0, 4), (4, 5), (5, 6),
    (0, 7), (7, 8), (8, 9), (9, 10),
    (8, 11), (11, 12), (12, 13),
    (8, 14), (14, 15), (15, 16),
)  # fmt: skip

# Bone lengths of an adult in metres, in the order of BONES: medians of 30 subjects of CMU and UI-PRMD.
ADULT_BONES_M = (
    0.09, 0.405, 0.43,
    0.09, 0.405, 0.43,
    0.276, 0.274, 0.136, 0.158,
    0.185, 0.29, 0.243,
    0.185, 0.29, 0.243,
)  # fmt: skip

LEFT_JOINTS = (4, 5, 6, 11, 12, 13)
RIGHT_JOINTS = (1, 2, 3, 14, 15, 16)

# MIRROR[j] is the joint that takes j's place when left and right are exchanged; applied with x negated.
MIRROR = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)

# Bones that are rigid in a body, so their length is constant (thighs, shins, upper arms, forearms).
LIMB_BONES = ((1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16))
