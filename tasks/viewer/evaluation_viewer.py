"""A page that plays motion: skeletons in 2D beside the same in 3D, which a person turns, plays and scrubs.

Notable decisions:
- one HTML file, the scripts inside: it asks for nothing, keeps nothing, and forbids itself both (its content security
  policy), so it opens in MLflow's viewer, an iframe that may run scripts and has no origin of its own;
- plain canvas 2D: seventeen joints are no work, and a sandbox that has WebGL is not to be counted on;
- positions are 16-bit integers, each array in a step of its own (a millimetre, or coarser where it reaches further than
  32 m): ten seconds of one person at 60 frames/s, one 2D and two 3D poses a frame, take 220 kB;
- a frame that is missing is NaN here and shows nothing there.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from data_contracts.skeleton import BONES, LEFT_JOINTS, RIGHT_JOINTS
from data_contracts.text import html_text, printable

PLAYING_PAGE = "playing.html"  # its name in MLflow
_MISSING, _LARGEST = -32768, 32767
_SCRIPTS = ("skeletons.js", "player.js")


@dataclass(frozen=True)
class Skeleton:
    """Bones as (parent, child) pairs of joints, and which joints lie on which side."""

    bones: Sequence[tuple[int, int]] = BONES
    left: Sequence[int] = LEFT_JOINTS
    right: Sequence[int] = RIGHT_JOINTS


@dataclass(frozen=True)
class Track:
    """One person of a scene.

    Parameters
    ----------
    name
        What is written over the head where a scene has several.
    pose_2d
        (T, 17, 2), x right, y down, in whatever unit; tracks of one scene in the same.
    poses
        Name (prediction, truth) -> (T, 17, 3) metres, with the way of the root or without; the first is drawn strong.
    error_mm
        (T,) the curve under the scrubber.
    first
        Frame of the scene in which the track begins.
    """

    name: str
    pose_2d: np.ndarray
    poses: Mapping[str, np.ndarray]
    error_mm: np.ndarray | None = None
    first: int = 0


@dataclass(frozen=True)
class Scene:
    """What plays at once: its tracks, at one rate.

    Parameters
    ----------
    name
        Of the button that shows it.
    title
        One line: clip, person, action.
    fps
        Frames per second.
    axes
        Of the 3D poses: `camera` is x right, y down, z forward, and `world` is z up.
    """

    name: str
    title: str
    fps: float
    tracks: Sequence[Track]
    axes: Literal["camera", "world"] = "camera"
    skeleton: Skeleton = field(default_factory=Skeleton)


def playing_page(title: str, scenes: Sequence[Scene]) -> str:
    """The page as HTML; its first scene is the one that it opens with.

    Raises
    ------
    ValueError
        An array of a track has not as many frames as its 2D, or its poses are not (T, joints, 2) and (T, joints, 3).
    """
    folder = files(__package__)
    motion = json.dumps([_scene(scene) for scene in scenes], allow_nan=False).replace("<", "\\u003c")
    parts = {"{{title}}": html_text(title), "{{motion}}": motion}
    parts["{{scripts}}"] = "\n".join((folder / script).read_text(encoding="utf-8") for script in _SCRIPTS)
    template = (folder / "playing.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{\w+\}\}", lambda place: parts[place.group()], template)  # in one go: parts are not searched


def _scene(scene: Scene) -> dict[str, Any]:
    skeleton = scene.skeleton
    return {
        "name": printable(scene.name),
        "title": printable(scene.title),
        "fps": scene.fps,
        "bones": [[parent, child, _side(child, skeleton)] for parent, child in skeleton.bones],
        "tracks": [_track(track, scene.axes) for track in scene.tracks],
    }


def _side(joint: int, skeleton: Skeleton) -> int:
    """1 of the right, -1 of the left, 0 of the middle."""
    return int(joint in skeleton.right) - int(joint in skeleton.left)


def _track(track: Track, axes: str) -> dict[str, Any]:
    frames, joints = track.pose_2d.shape[:2]
    for name, pose in {"2D": track.pose_2d, **track.poses}.items():
        wanted = (frames, joints, 2 if name == "2D" else 3)
        if pose.shape != wanted:
            raise ValueError(f"track {track.name}: {name} has shape {pose.shape}, and {wanted} is wanted")
    if track.error_mm is not None and track.error_mm.shape != (frames,):
        raise ValueError(f"track {track.name}: error_mm has shape {track.error_mm.shape}, and ({frames},) is wanted")
    return {
        "name": printable(track.name),
        "first": track.first,
        "frames": frames,
        "joints": joints,
        "pose_2d": _packed(track.pose_2d, 0.0),
        "poses": {printable(name): _packed(_upright(pose, axes), 1e-3) for name, pose in track.poses.items()},
        "error_mm": None if track.error_mm is None else _packed(track.error_mm, 0.1),
    }


def _upright(pose: np.ndarray, axes: str) -> np.ndarray:
    """Poses (T, joints, 3) with z up: x right, y forward where they come in a camera's axes."""
    return np.stack([pose[..., 0], pose[..., 2], -pose[..., 1]], axis=-1) if axes == "camera" else pose


def _packed(values: np.ndarray, finest: float) -> dict[str, Any]:
    """Values as little-endian 16-bit integers, in base64, times `step`: `finest`, or what their reach asks for."""
    finite = np.isfinite(values)
    reach = float(np.abs(values[finite]).max(initial=0.0))
    step = max(finest, reach / _LARGEST) or 1.0
    whole = np.where(finite, np.rint(np.where(finite, values, 0) / step), _MISSING).astype("<i2")
    return {"step": step, "data": base64.b64encode(whole.tobytes()).decode("ascii")}
