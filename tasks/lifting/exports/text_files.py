"""Write a motion as text: JSON with all data, CSV with one row per frame, and TRC with markers for OpenSim."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.motion.motion import AXES, UNIT, Motion
from data_contracts.skeleton import BONES, JOINTS, NUM_JOINTS
from data_contracts.sources import MOTION_CSV_BEGINS
from data_contracts.text import printable

FORMAT = "pose-uplift motion"
VERSION = 1  # increases if a reader of the previous version would misread the file; new entries do not increase it


def write_json(motion: Motion, path: Path) -> None:
    """Write all arrays (frames, ...) of `Motion` as nested lists under their names; 3D in metres, z up; 2D in pixels.

    The schema is docs/motion.schema.json. Unknown numbers are null, because JSON has no NaN. Positions are rounded to
    micrometres and thousandths of a pixel.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": motion.name,
        "video": motion.video or None,
        "person": motion.person if motion.person >= 0 else None,
        "fps": motion.fps,
        "first_frame": motion.first_frame,
        "frames": motion.frames,
        "unit": UNIT,
        "axes": AXES,
        "joints": JOINTS,
        "bones": BONES,
        "pose_3d": _known(motion.pose_3d, 6),
        "root": _known(motion.root, 6),
        "root_std": _known(motion.root_std, 6),
        "confidence": _known(motion.confidence, 4),
        "interpolated": motion.interpolated.astype(bool).tolist(),
        "pose_2d": _known(motion.pose_2d, 3),
        "about": json.loads(json.dumps(motion.about), parse_constant=lambda _: None),
    }
    path.write_text(json.dumps(content, allow_nan=False, separators=(",", ":")), encoding="utf-8")


def write_csv(motion: Motion, path: Path) -> None:
    """Write a CSV with world coordinates and confidences of the joints, and the root, in metres with z up.

    `pandas.read_csv(path, comment="#")` reads the file.
    Lines that begin with # contain the name, unit and axes. Columns: `frame` (number in the keypoint file); `time`
    (seconds after the first row); `<joint>_x`, `_y`, `_z` and `<joint>_confidence` for each of the 17 joints; `root_x`,
    `_y`, `_z`; `root_std_x`, `_y`, `_z`. Unknown values are empty.
    """
    columns = [f"{joint}_{value}" for joint in JOINTS for value in (*"xyz", "confidence")]
    columns += [f"{root}_{axis}" for root in ("root", "root_std") for axis in "xyz"]
    joints = np.concatenate([motion.joints, motion.confidence[..., None]], axis=-1).reshape(motion.frames, -1)
    values = np.concatenate([joints, motion.root, motion.root_std], axis=1, dtype=np.float64)
    table = pd.DataFrame(np.where(np.isfinite(values), values, np.nan), columns=columns)
    count = np.arange(motion.frames)
    table.insert(0, "time", count / motion.fps)
    table.insert(0, "frame", motion.first_frame + count)
    header = [
        f"{MOTION_CSV_BEGINS.removeprefix('# ')} {printable(motion.name)}",
        f"unit: {UNIT}; time: s; {motion.fps:.10g} frames per second",
        f"axes: {AXES}",
        "joints: in the world; root: the pelvis; root_std: its standard deviation, empty if unknown",
        "confidence: 0 to 1; 0 if the joint was not seen and its position comes from the model",
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {line}\n" for line in header)
        table.round(6).to_csv(file, index=False, lineterminator="\n")


def write_trc(motion: Motion, path: Path) -> None:
    """Write a TRC with the joints in world coordinates: metres, y up as in OpenSim, x right, z towards the camera.

    Frames start at 1, as in OpenSim's own files. OrigDataStartFrame is the number of the first frame in the video.
    """
    rate, frames = f"{motion.fps:.10g}", str(motion.frames)
    fields = {"DataRate": rate, "CameraRate": rate, "NumFrames": frames, "NumMarkers": str(NUM_JOINTS), "Units": "m"}
    fields |= {"OrigDataRate": rate, "OrigDataStartFrame": str(motion.first_frame), "OrigNumFrames": frames}
    header = [
        ["PathFileType", "4", "(X/Y/Z)", f"{printable(motion.name)}.trc"],
        fields.keys(),
        fields.values(),
        ["Frame#", "Time", *(field for joint in JOINTS for field in (joint, "", ""))],
        ["", "", *(f"{axis}{marker}" for marker in range(1, NUM_JOINTS + 1) for axis in "XYZ")],
    ]
    count = np.arange(motion.frames)[:, None]
    rows = np.concatenate([count + 1, count / motion.fps, motion.joints_y_up.reshape(motion.frames, -1)], axis=1)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines("\t".join(line) + "\n" for line in header)
        file.write("\n")
        np.savetxt(file, rows, fmt=["%d"] + ["%.6f"] * (rows.shape[1] - 1), delimiter="\t")


def _known(values: np.ndarray, decimals: int) -> list[Any]:
    """Return rounded values as nested lists, with None for non-finite values."""
    rounded = np.round(values.astype(np.float64), decimals)
    return np.where(np.isfinite(rounded), rounded, np.array(None)).tolist()
