"""C3D: markers over time, as biomechanics keeps them (Mokka, Visual3D, Vicon, OpenSim, MATLAB). The markers are joints.

Notable decisions:
- millimetres and z up, as laboratories write them; POINT:UNITS and POINT:X_SCREEN, Y_SCREEN say so;
- residual 0 throughout, which is C3D's mark of a point that was computed. -1 would mean that there is no point, and
  readers drop it; a joint that was not seen has a position, where the model put it. Which these are, CSV and JSON tell;
- ezc3d writes it: MIT, of the field, from compiled code that takes arrays.
"""

from pathlib import Path

import ezc3d
import numpy as np

from data_contracts.motion import Motion
from data_contracts.skeleton import JOINTS

_PER_METRE = 1000


def write_c3d(motion: Motion, path: Path) -> None:
    """Write the joints in the world: millimetres, z up, x right, y away from the camera."""
    points = np.ones((4, len(JOINTS), motion.frames))
    points[:3] = _PER_METRE * motion.joints.transpose(2, 1, 0)
    file = ezc3d.c3d()
    file["header"]["points"]["first_frame"] = motion.first_frame
    file["parameters"]["POINT"]["RATE"]["value"] = [motion.fps]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(JOINTS)
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    file.add_parameter("SUBJECTS", "NAMES", [motion.name])
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = np.zeros((1, len(JOINTS), motion.frames))
    file.write(str(path))
