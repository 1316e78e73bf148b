"""Write CSV files: one row per frame, for spreadsheets, R and pandas (`read_csv(file, comment="#")`)."""

from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.motion.motion import AXES, UNIT, Motion
from data_contracts.skeleton import JOINTS
from data_contracts.text import printable

_XYZ = "xyz"


def write_csv(motion: Motion, path: Path) -> None:
    """Write the joints in the world, their confidences, and the root.

    Lines that begin with # contain the name, unit and axes. Columns: `frame` (number in the keypoint file), `time`
    (seconds after the first row), `<joint>_x`, `_y`, `_z` and `<joint>_confidence` for each of the 17 joints, `root_x`,
    `_y`, `_z`, and `root_std_x`, `_y`, `_z`, which are empty if unknown.
    """
    columns = ["frame", "time"]
    for joint in JOINTS:
        columns += [f"{joint}_{axis}" for axis in _XYZ] + [f"{joint}_confidence"]
    columns += [f"root_{axis}" for axis in _XYZ] + [f"root_std_{axis}" for axis in _XYZ]
    joints = np.concatenate([motion.joints, motion.confidence[..., None]], axis=-1)
    time = np.arange(motion.frames)[:, None] / motion.fps
    values = np.concatenate(
        [time, joints.reshape(motion.frames, -1), motion.root, motion.root_std], axis=1, dtype=np.float64
    )
    table = pd.DataFrame(np.where(np.isfinite(values), values, np.nan), columns=columns[1:]).round(6)
    table.insert(0, "frame", motion.first_frame + np.arange(motion.frames))
    header = [
        f"pose-uplift motion: {printable(motion.name)}",
        f"unit: {UNIT}; time: s; {motion.fps:.10g} frames per second",
        f"axes: {AXES}",
        "joints: in the world; root: the pelvis; root_std: its standard deviation, empty if unknown",
        "confidence: 0 to 1; 0 if the joint was not seen and its position comes from the model",
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {line}\n" for line in header)
        table.to_csv(file, index=False, lineterminator="\n")
