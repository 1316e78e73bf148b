"""Tracks of keypoints -> motion in metres: the network's answer, given a body, a place and an upright world.

A track goes through the network at its rate (`track_windows`), back to the track's own, is freed of what no body does
(`smoothing`, `bodies`), brought to metres, and put where the keypoints saw it (`roots`, `grounds`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from data_contracts.keypoints import Track
from data_contracts.motion import Motion
from data_contracts.parameters import LiftParameters
from model.lifting.bodies import ANKLE_SHARE, bone_lengths, metres_per_unit, stature_of, stretched, with_lengths
from model.lifting.cameras import PinholeCamera, camera_of
from model.lifting.grounds import Pitch, find_pitch, floor_height, to_world
from model.lifting.roots import RootPath, find_root
from model.lifting.smoothing import resample_back, resample_seen, smooth
from model.lifting.track_windows import lift_track

DEFAULT_FPS = 30.0  # of keypoints of which nobody said
DEFAULT_HEIGHT_M, HEIGHT_STD_M = 1.70, 0.10  # of adults
_SAME_RATE = 0.02  # rates that differ by less are taken for the same: 59.94 and 60
_LEAST_WEIGHT = 0.05  # of a joint that was not seen, beside 1


@dataclass(frozen=True)
class Lifting:
    """A network and what it was trained on: frames of a window, and frames per second (none: not known)."""

    network: nn.Module
    window: int
    fps: float | None
    flip: bool = True


def lift_people(
    lifting: Lifting,
    tracks: Sequence[Track],
    parameters: LiftParameters,
    on_share: Callable[[float], None] = lambda _: None,
) -> list[Motion]:
    """Lift the tracks of one file; `person-0` is the first of them, and so on.

    Parameters
    ----------
    tracks
        As the keypoints contract has them.
    on_share
        Called with the share in [0, 1] that is done.

    Returns
    -------
    list
        A `Motion` of each track, in their order; those of one video share a camera and a world.
    """
    motions: dict[int, Motion] = {}
    frames, done = sum(len(track.pose_2d) for track in tracks), 0
    for video in dict.fromkeys(track.video for track in tracks):
        of_video = [number for number, track in enumerate(tracks) if track.video == video]
        camera = _camera([tracks[number] for number in of_video], parameters)
        bodies = []
        for number in of_video:
            bodies.append(_body(lifting, tracks[number], camera, parameters))
            done += len(tracks[number].pose_2d)
            on_share(done / frames)
        pitch = _pitch(bodies, parameters)
        for number, body in zip(of_video, bodies, strict=True):
            motions[number] = _motion(f"person-{number}", tracks[number], body, camera, pitch, parameters)
    return [motions[number] for number in range(len(tracks))]


@dataclass(frozen=True)
class _Body:
    """Pose (frames, 17, 3) in metres and camera axes, its root, and how it came to metres."""

    pose: np.ndarray
    root: RootPath
    lengths: np.ndarray
    stature: float
    fps: float
    fps_known: bool


def _camera(tracks: list[Track], parameters: LiftParameters) -> PinholeCamera:
    seen = np.concatenate([track.pose_2d[track.pose_2d[..., 2] > 0][:, :2] for track in tracks])
    return camera_of(seen, tracks[0].width, tracks[0].height, parameters.fov_deg, parameters.focal_px)


def _body(lifting: Lifting, track: Track, camera: PinholeCamera, parameters: LiftParameters) -> _Body:
    fps = track.fps or DEFAULT_FPS
    flip = lifting.flip if parameters.flip is None else parameters.flip
    stride = min(parameters.stride or max(1, lifting.window // 3), lifting.window)
    at_own_rate = lifting.fps is None or not track.fps or abs(fps / lifting.fps - 1) < _SAME_RATE
    pose_2d = track.pose_2d if at_own_rate else resample_seen(track.pose_2d, fps, lifting.fps or fps)
    lifted = lift_track(lifting.network, pose_2d, camera, lifting.window, stride, flip, parameters.batch_size)
    pose, size = lifted.pose.astype(np.float64), lifted.size.astype(np.float64)
    if not at_own_rate and lifting.fps:
        pose, size = (resample_back(values, lifting.fps, fps, len(track.pose_2d)) for values in (pose, size))
    confidence = track.pose_2d[..., 2].astype(np.float64)
    if parameters.smoothing:
        pose = _smoothed(pose, confidence, fps, parameters)
    lengths = bone_lengths(pose, confidence)
    if parameters.rigid:
        pose = with_lengths(pose, lengths)
    metres = metres_per_unit(lengths, parameters.height or DEFAULT_HEIGHT_M, parameters.bones)
    smoothing = parameters.smoothing
    root = find_root(
        pose * metres,
        camera.rays(track.pose_2d[..., :2].astype(np.float64)),
        confidence,
        size / metres,
        fps,
        parameters.camera,
        (smoothing.cutoff_hz, smoothing.depth_cutoff_hz) if smoothing else None,
    )
    lengths = lengths * metres
    return _Body(pose * metres, root, lengths, stature_of(lengths), fps, track.fps is not None)


def _smoothed(pose: np.ndarray, confidence: np.ndarray, fps: float, parameters: LiftParameters) -> np.ndarray:
    smoothing = parameters.smoothing
    assert smoothing is not None, "it is asked for"
    weights = np.maximum(confidence, _LEAST_WEIGHT)
    out = [
        smooth(pose[:, joint], weights[:, joint], smoothing.cutoff_hz, fps, smoothing.order)
        for joint in range(pose.shape[1])
    ]
    return np.stack(out, axis=1)


def _pitch(bodies: list[_Body], parameters: LiftParameters) -> Pitch:
    if parameters.pitch_deg is not None:
        return Pitch(parameters.pitch_deg, 0.0, "given")
    return find_pitch([body.pose for body in bodies], [stretched(body.lengths) for body in bodies])


def _motion(
    name: str, track: Track, body: _Body, camera: PinholeCamera, pitch: Pitch, parameters: LiftParameters
) -> Motion:
    pose = to_world(body.pose, pitch.degrees)
    root, std = to_world(body.root.position, pitch.degrees), _turned_std(body.root.std, pitch.degrees)
    if not parameters.root or body.root.camera == "none":
        root, std = np.zeros_like(root), np.full_like(std, np.inf)
    floor = floor_height(pose, root, ANKLE_SHARE * body.stature) if parameters.floor else 0.0
    root = root - [0, 0, floor]
    return Motion(
        name=name,
        fps=body.fps,
        pose_3d=(pose - pose[:, :1]).astype(np.float32),
        root=root.astype(np.float32),
        root_std=std.astype(np.float32),
        confidence=track.pose_2d[..., 2].astype(np.float32),
        interpolated=track.interpolated.astype(bool),
        pose_2d=track.pose_2d.astype(np.float32),
        first_frame=track.first_frame,
        video=track.video,
        person=track.person,
        about=_about(body, camera, pitch, floor, parameters),
    )


def _turned_std(std: np.ndarray, pitch_deg: float) -> np.ndarray:
    """Standard deviations along camera axes as those along the world's, taken for independent."""
    variance = np.where(np.isfinite(std), std, 0) ** 2
    cos, sin = np.cos(np.deg2rad(pitch_deg)) ** 2, np.sin(np.deg2rad(pitch_deg)) ** 2
    x, y, z = np.moveaxis(variance, -1, 0)
    turned = np.sqrt(np.stack([x, z * cos + y * sin, y * cos + z * sin], axis=-1))
    return np.where(np.isfinite(std), turned, np.inf)


def _about(
    body: _Body, camera: PinholeCamera, pitch: Pitch, floor: float, parameters: LiftParameters
) -> dict[str, Any]:
    """What was found and how sure it is; JSON."""
    by = "bones" if parameters.bones else "height" if parameters.height else "default"
    off = HEIGHT_STD_M / DEFAULT_HEIGHT_M
    return {
        "fps": {"value": body.fps, "from": "keypoints" if body.fps_known else "default"},
        "scale": {
            "stature_m": round(body.stature, 4),
            "from": by,
            "relative_std": round(off, 3) if by == "default" else 0.02,
        },
        "camera": {
            "focal_px": round(camera.focal, 1),
            "from": camera.focal_from,
            "width": camera.width,
            "height": camera.height,
            "size_from": camera.size_from,
        },
        "root": {"from": body.root.camera if parameters.root else "off"},
        "pitch": {"deg": round(pitch.degrees, 2), "std_deg": round(pitch.std, 2), "from": pitch.found},
        "floor": {"m_below_camera": round(-floor, 4), "from": "ankles" if parameters.floor else "off"},
    }
