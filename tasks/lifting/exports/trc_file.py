"""Write TRC files: markers over time, for OpenSim. The markers are the joints.

- y is up, as in OpenSim's models. Units are metres, as in Sports2D and Pose2Sim (OpenSim reads the unit in the header).
- Frames start at 1, as in OpenSim's own files. OrigDataStartFrame is the number of the first frame in the video.
"""

from pathlib import Path

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from data_contracts.text import printable
from tasks.lifting.exports.axes import y_up

_FIELDS = [
    "DataRate",
    "CameraRate",
    "NumFrames",
    "NumMarkers",
    "Units",
    "OrigDataRate",
    "OrigDataStartFrame",
    "OrigNumFrames",
]


def write_trc(motion: Motion, path: Path) -> None:
    """Write the joints in the world: metres, y up, x right, z towards the camera."""
    rate = f"{motion.fps:.10g}"
    values = (rate, rate, motion.frames, NUM_JOINTS, "m", rate, motion.first_frame, motion.frames)
    header = [
        ["PathFileType", "4", "(X/Y/Z)", f"{printable(motion.name)}.trc"],
        _FIELDS,
        map(str, values),
        ["Frame#", "Time", *(field for joint in JOINTS for field in (joint, "", ""))],
        ["", "", *(f"{axis}{marker}" for marker in range(1, NUM_JOINTS + 1) for axis in "XYZ")],
    ]
    count = np.arange(motion.frames)[:, None]
    rows = np.concatenate([count + 1, count / motion.fps, y_up(motion.joints).reshape(motion.frames, -1)], axis=1)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines("\t".join(fields) + "\n" for fields in header)
        file.write("\n")
        np.savetxt(file, rows, fmt=["%d"] + ["%.6f"] * (rows.shape[1] - 1), delimiter="\t")
