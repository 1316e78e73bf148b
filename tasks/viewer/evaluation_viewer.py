"""Write the motion viewer: one HTML file that plays skeletons in 2D and 3D.

- The file contains its scripts, and its content security policy forbids requests. Therefore it runs in the artifact
  viewer of MLflow, an iframe that may run scripts but has no origin. The viewer needs no WebGL, only a 2D canvas.
- Positions are 16-bit integers with a step per array: 1 mm, or more if the array reaches further than 32 m. A missing
  frame is NaN.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS
from data_contracts.text import html_text, printable

VIEWER_FILE = "playing.html"  # name of the artifact
_MISSING, _LARGEST = -32768, 32767
_SCRIPTS = ("skeletons.js", "player.js")


@dataclass(frozen=True)
class Subject:
    """One subject of a scene with one or more poses; the viewer draws all poses but the first in a pale colour."""

    name: str
    pose_2d: np.ndarray  # (T, 17, 2): x right, y down, in any unit that is the same for all subjects of a scene
    poses: Mapping[str, np.ndarray]  # name (e.g. prediction) -> (T, 17, 3) metres, with or without root trajectory
    error_mm: np.ndarray | None = None  # (T,) error per frame, drawn as a curve under the scrubber
    first: int = 0  # frame of the scene at which the subject appears


@dataclass(frozen=True)
class Scene:
    """Subjects that are played together."""

    name: str  # label of the button that selects the scene
    title: str
    fps: float
    subjects: Sequence[Subject]
    axes: Literal["camera", "world"] = "camera"  # of the 3D poses: x right, y down, z forward; or z up


def viewer_html(title: str, scenes: Sequence[Scene]) -> str:
    """Return the viewer as HTML; it opens with the first scene."""
    motion = json.dumps([_scene(scene) for scene in scenes], allow_nan=False).replace("<", "\\u003c")
    scripts = "\n".join(_text_of(script) for script in _SCRIPTS)
    parts = {"title": html_text(title), "motion": motion, "scripts": scripts}
    # one pass over the template, so that inserted text is not searched
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], _text_of("viewer.html"))


def _text_of(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "name": printable(scene.name),
        "title": printable(scene.title),
        "fps": scene.fps,
        "bones": [[start, end, int(end in RIGHT_JOINTS) - int(end in LEFT_JOINTS)] for start, end in BONES],
        "tracks": [_track(subject, scene.axes) for subject in scene.subjects],
    }


def _track(subject: Subject, axes: str) -> dict[str, Any]:
    frames, joints, _ = subject.pose_2d.shape
    return {
        "name": printable(subject.name),
        "first": subject.first,
        "frames": frames,
        "joints": joints,
        "pose_2d": _pack(subject.pose_2d, 0.0),
        "poses": {printable(name): _pack(_upright(pose, axes), 1e-3) for name, pose in subject.poses.items()},
        "error_mm": None if subject.error_mm is None else _pack(subject.error_mm, 0.1),
    }


def _upright(pose: np.ndarray, axes: str) -> np.ndarray:
    """Return poses (T, joints, 3) with z up; camera axes become x right, y forward, z up."""
    return np.stack([pose[..., 0], pose[..., 2], -pose[..., 1]], axis=-1) if axes == "camera" else pose


def _pack(values: np.ndarray, finest: float) -> dict[str, Any]:
    """Encode values as multiples of a step (at least `finest`): little-endian 16-bit integers in base64."""
    finite = np.isfinite(values)
    reach = float(np.abs(values[finite]).max(initial=0.0))
    step = max(finest, reach / _LARGEST) or 1.0
    integers = np.where(finite, np.rint(np.where(finite, values, 0) / step), _MISSING).astype("<i2")
    return {"step": step, "data": base64.b64encode(integers.tobytes()).decode("ascii")}
