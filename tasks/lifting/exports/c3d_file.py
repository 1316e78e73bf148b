"""C3D: markers over time, as biomechanics keeps them. The markers are the joints.

Notable decisions:
- millimetres and z up, as laboratories write them; POINT:UNITS and POINT:X_SCREEN, Y_SCREEN say so;
- residual 0 throughout, which is C3D's mark of a point that was computed. -1 would mean that there is no point, and
  readers drop it; a joint that was not seen has a position, where the model put it. Which these are, CSV and JSON tell;
- frames count from 1, whichever frame of the video the first is: C3D counts with 16 bits;
- text is ASCII of at most 127 characters: C3D has one byte for a length, and some readers take it as signed;
- ezc3d writes it: MIT, of the field, from compiled code that takes arrays.
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
    """Write the joints in the world: millimetres, z up, x right, y away from the camera.

    Raises
    ------
    InputError
        The motion has more frames than C3D counts; readers would leave out the rest, and not say so.
    """
    if motion.frames > _MOST_FRAMES:
        raise InputError(
            f"{motion.name}: C3D holds {_MOST_FRAMES} frames, and it has {motion.frames}: cut it, or take TRC"
        )
    points = np.ones((4, len(JOINTS), motion.frames))
    points[:3] = _PER_METRE * motion.joints.transpose(2, 1, 0)
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [motion.fps]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(JOINTS)
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    file.add_parameter("SUBJECTS", "NAMES", [_text(motion.name)])
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = np.zeros((1, len(JOINTS), motion.frames))
    file.write(str(path))


def _text(text: str) -> str:
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")[:_MOST_CHARACTERS]
