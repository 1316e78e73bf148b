"""Correct the skeleton in the BVH files of CMU's motion capture (cgspeed), which were converted from ASF.

- The thorax bone is missing, so Neck and shoulders are where it should begin. They get the offset of Spine1, the bone
  before, which is about as long.
- The base of the neck is Neck1, above the shoulders; Neck is below them.
- The hands are at 0.78 of the forearm, so the offset of the wrists is multiplied by 1.28.

With these corrections, subject 07 has the bones of its ASF file within 1 cm.
"""

from collections.abc import Sequence

from tasks.ingest.formats.kinematics import Joint

_FOREARM = 1.28


def correct_cmu(joints: Sequence[Joint], found: dict[str, int]) -> None:
    """Correct the offsets of `joints` and the index of the neck in `found`, if the names are those of CMU's files."""
    by_name = {joint.name: joint for joint in joints}
    if not {"LHipJoint", "Spine1", "Neck", "Neck1", "LeftShoulder", "RightShoulder"} <= {*by_name}:
        return
    for side in ("left", "right"):
        joints[found[f"{side}_wrist"]].offset = joints[found[f"{side}_wrist"]].offset * _FOREARM
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        if not by_name[name].offset.any():
            by_name[name].offset = by_name["Spine1"].offset
    found["neck"] = [joint.name for joint in joints].index("Neck1")
