"""Write C3D files: markers over time, for biomechanics software. The markers are the joints.

- Units are millimetres and z is up, as in laboratories. Frames start at 1, not at their number in the video, which may
  exceed C3D's 16 bits. Text is at most 127 ASCII characters: its length is one byte, which some readers take as signed.
- The residual is 0, C3D's value for computed points. With -1, the value for a missing point, readers would drop unseen
  joints, although the model estimates their positions. CSV and JSON contain the confidence of each joint.
"""

from pathlib import Path

import ezc3d
import numpy as np

from data_contracts.errors import InputError
from data_contracts.motion.motion import Motion
from data_contracts.skeleton import JOINTS
from data_contracts.text import printable

_PER_METRE = 1000
_MOST_FRAMES = 65_535  # 16 bits
_MOST_CHARACTERS = 127


def write_c3d(motion: Motion, path: Path) -> None:
    """Write a C3D with the joints in world coordinates (mm, z up, x right, y away); InputError above 65,535 frames."""
    if motion.frames > _MOST_FRAMES:  # readers would drop the rest without a warning
        raise InputError(
            f"{motion.name}: has {motion.frames} frames, C3D allows at most {_MOST_FRAMES};"
            " cut the motion into parts or export TRC"
        )
    points = np.ones((4, len(JOINTS), motion.frames))
    points[:3] = _PER_METRE * motion.joints.transpose(2, 1, 0)
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [motion.fps]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(JOINTS)
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    name = printable(motion.name).encode("ascii", "backslashreplace").decode("ascii")
    file.add_parameter("SUBJECTS", "NAMES", [name[:_MOST_CHARACTERS]])
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = np.zeros((1, len(JOINTS), motion.frames))
    file.write(str(path))
