"""Write JSON files: all data of a motion. The schema is docs/motion.schema.json.

- Unknown numbers are null, because JSON has no NaN and few parsers accept it.
- Positions are rounded to micrometres and thousandths of a pixel. More digits would be noise and double the file.
- `version` increases if a reader of the previous version would misread the file. New entries do not increase it.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.motion.motion import AXES, UNIT, Motion
from data_contracts.skeleton import BONES, JOINTS

FORMAT = "pose-uplift motion"
VERSION = 1


def write_json(motion: Motion, path: Path) -> None:
    """Write all arrays of `Motion` under their names, (frames, ...) as nested lists; metres, z up, pixels in 2D."""
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
        "about": _plain(motion.about),
    }
    path.write_text(json.dumps(content, allow_nan=False, separators=(",", ":")), encoding="utf-8")


def _known(values: np.ndarray, decimals: int) -> list[Any]:
    """Return rounded values as nested lists, with None for non-finite values."""
    rounded = np.round(values.astype(np.float64), decimals)
    finite = np.isfinite(rounded)
    if finite.all():
        return rounded.tolist()
    objects = rounded.astype(object)
    objects[~finite] = None
    return objects.tolist()


def _plain(value: Any) -> Any:
    """Return a JSON value with None for non-finite numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
