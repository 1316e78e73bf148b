"""Lift tracks of keypoints to motion in metres.

`track_windows` lifts a track at the frame rate of the network. `smoothing` resamples the result to the track's rate and
removes jitter. `skeleton_fit` scales the body to metres, and `translation` fits the root to the keypoints. `gravity`
rotates the motion to a world with z up and the floor at 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.tracks.track import Track
from model.lifting.cameras import PinholeCamera, camera_of
from model.lifting.gravity import Pitch, find_pitch, floor_height, to_world
from model.lifting.lifter import Lifter
from model.lifting.live import LiveLifter
from model.lifting.skeleton_fit import (
    ANKLE_SHARE,
    bone_lengths,
    is_wholly_measured,
    metres_per_unit,
    stature_of,
    stretched,
    with_lengths,
)
from model.lifting.smoothing import follow, resample_seen, resampled_rate, smooth_joints, values_at
from model.lifting.track_windows import lift_track
from model.lifting.translation import RootPath, find_root

DEFAULT_FPS = 30.0  # for keypoints of unknown frame rate
DEFAULT_HEIGHT_M, HEIGHT_STD_M = 1.70, 0.10  # adults
_SIZE_STD, _PARTLY_SEEN_STD = 0.02, 0.04  # relative errors: known height or bones; partly undetected body


def lift_people(
    lifter: Lifter,
    tracks: Sequence[Track],
    parameters: LiftParameters,
    on_share: Callable[[float], None] = lambda _: None,
) -> list[Motion]:
    """Return the motion of each track of one file, in order; tracks of one video have the same camera and world axes.

    `on_share` is called with the finished share of the work in [0, 1].
    """
    motions: dict[int, Motion] = {}
    frames, done = sum(len(track.pose_2d) for track in tracks), 0

    def report(finished: int) -> None:
        on_share((done + finished) / frames)

    for video in dict.fromkeys(track.video for track in tracks):
        of_video = [number for number, track in enumerate(tracks) if track.video == video]
        camera = _camera([tracks[number] for number in of_video], parameters)
        bodies = []
        for number in of_video:
            bodies.append(_body(lifter, tracks[number], camera, parameters, report))
            done += len(tracks[number].pose_2d)
            report(0)
        pitch = _pitch(bodies, parameters)
        for number, body in zip(of_video, bodies, strict=True):
            motions[number] = _motion(f"person-{number}", body, camera, pitch, parameters)
    return [motions[number] for number in range(len(tracks))]


@dataclass(frozen=True)
class _Body:
    """A lifted track in metres and camera axes: pose (frames, 17, 3), root, bone lengths (16,) and stature."""

    track: Track
    pose: np.ndarray
    root: RootPath
    lengths: np.ndarray
    stature: float

    @property
    def confidence(self) -> np.ndarray:
        return self.track.pose_2d[..., 2]


def _camera(tracks: list[Track], parameters: LiftParameters) -> PinholeCamera:
    seen = np.concatenate([track.pose_2d[track.pose_2d[..., 2] > 0][:, :2] for track in tracks])
    return camera_of(seen, tracks[0].width, tracks[0].height, parameters.fov_deg, parameters.focal_px)


def _body(
    lifter: Lifter, track: Track, camera: PinholeCamera, parameters: LiftParameters, report: Callable[[int], None]
) -> _Body:
    fps = track.fps or DEFAULT_FPS
    confidence = track.pose_2d[..., 2].astype(np.float64)
    rays = camera.rays(track.pose_2d[..., :2].astype(np.float64))
    height = parameters.height or DEFAULT_HEIGHT_M
    if parameters.causal:
        pose, size = _lift_causally(lifter, track, camera, fps, parameters, report)
        root = find_root(pose, rays, confidence, size, fps, parameters.camera, None, causal=True)
        if parameters.one_euro:
            root = replace(root, position=follow(root.position, fps, parameters.one_euro))
        lengths = bone_lengths(pose, confidence)
    else:
        pose, size = _lift_whole(lifter, track, camera, fps, parameters)
        smoothing = parameters.smoothing
        if smoothing:
            pose = smooth_joints(pose, confidence, smoothing.cutoff_hz, fps, smoothing.order)
        lengths = bone_lengths(pose, confidence)
        if parameters.rigid:
            pose = with_lengths(pose, lengths)
        metres = metres_per_unit(lengths, height, parameters.bones)
        pose, lengths, size = pose * metres, lengths * metres, size / metres
        cutoffs = (smoothing.cutoff_hz, smoothing.depth_cutoff_hz) if smoothing else None
        root = find_root(pose, rays, confidence, size, fps, parameters.camera, cutoffs)
    return _Body(track, pose, root, lengths, stature_of(lengths))


def _lift_whole(
    lifter: Lifter, track: Track, camera: PinholeCamera, fps: float, parameters: LiftParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Return `lift_track` at the rate of the track: poses (frames, 17, 3) of adult size, apparent sizes (frames,)."""
    rate = resampled_rate(fps, lifter.fps or fps)
    stride = min(parameters.stride or max(1, lifter.window // 3), lifter.window)
    pose, size = lift_track(lifter, resample_seen(track.pose_2d, fps, rate), camera, stride, parameters.batch_size)
    place = np.arange(len(track.pose_2d)) * rate / fps
    return values_at(pose, place), values_at(size, place)


def _lift_causally(
    lifter: Lifter,
    track: Track,
    camera: PinholeCamera,
    fps: float,
    parameters: LiftParameters,
    report: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return poses (frames, 17, 3) in metres and apparent sizes (frames,), computed without later frames."""
    height = parameters.height or DEFAULT_HEIGHT_M
    live = LiveLifter(lifter, camera, fps, height, 0.0, parameters.one_euro, parameters.bones)
    pose, size = np.empty((len(track.pose_2d), NUM_JOINTS, 3)), np.empty(len(track.pose_2d))
    for number, frame in enumerate(track.pose_2d):
        pose[number], size[number] = live.push_in_camera(frame), live.size
        if number % 100 == 0:
            report(number)
    return pose, size


def _pitch(bodies: list[_Body], parameters: LiftParameters) -> Pitch:
    if parameters.pitch_deg is not None:
        return Pitch(parameters.pitch_deg, 0.0, "given")
    confidences = [body.confidence for body in bodies]
    return find_pitch([body.pose for body in bodies], confidences, [stretched(body.lengths) for body in bodies])


def _motion(name: str, body: _Body, camera: PinholeCamera, pitch: Pitch, parameters: LiftParameters) -> Motion:
    track, pose = body.track, to_world(body.pose, pitch.degrees)
    root, std = to_world(body.root.position, pitch.degrees), _turned_std(body.root.std, pitch.degrees)
    if not parameters.root or body.root.camera == "none":
        root, std = np.zeros_like(root), np.full_like(std, np.inf)
    floor = floor_height(pose, root, body.confidence, ANKLE_SHARE * body.stature) if parameters.floor else 0.0
    root = root - [0, 0, floor]
    return Motion(
        name=name,
        fps=track.fps or DEFAULT_FPS,
        pose_3d=(pose - pose[:, :1]).astype(np.float32),
        root=root.astype(np.float32),
        root_std=std.astype(np.float32),
        confidence=body.confidence.astype(np.float32),
        interpolated=track.interpolated.astype(bool),
        pose_2d=np.where(track.pose_2d[..., 2:] > 0, track.pose_2d, np.nan).astype(np.float32),
        first_frame=track.first_frame,
        video=track.video,
        person=track.person,
        about=_about(body, camera, pitch, floor, parameters),
    )


def _turned_std(std: np.ndarray, pitch_deg: float) -> np.ndarray:
    """Convert standard deviations (..., 3) along camera axes, assumed independent, to world axes."""
    variance = np.where(np.isfinite(std), std, 0) ** 2
    cos, sin = np.cos(np.deg2rad(pitch_deg)) ** 2, np.sin(np.deg2rad(pitch_deg)) ** 2
    x, y, z = np.moveaxis(variance, -1, 0)
    turned = np.sqrt(np.stack([x, z * cos + y * sin, y * cos + z * sin], axis=-1))
    return np.where(np.isfinite(std), turned, np.inf)


def _about(
    body: _Body, camera: PinholeCamera, pitch: Pitch, floor: float, parameters: LiftParameters
) -> dict[str, Any]:
    """Return the estimated quantities, their sources and their uncertainty, as JSON."""
    source = "bones" if parameters.bones else "height" if parameters.height else "default"
    relative_std = HEIGHT_STD_M / DEFAULT_HEIGHT_M if source == "default" else _SIZE_STD
    if source != "bones" and not is_wholly_measured(body.confidence):
        relative_std = float(np.hypot(relative_std, _PARTLY_SEEN_STD))
    return {
        "fps": {"value": body.track.fps or DEFAULT_FPS, "from": "keypoints" if body.track.fps else "default"},
        "scale": {"stature_m": round(body.stature, 4), "from": source, "relative_std": round(relative_std, 3)},
        "camera": {
            "focal_px": round(camera.focal, 1),
            "from": camera.focal_from,
            "width": camera.width,
            "height": camera.height,
            "size_from": camera.size_from,
        },
        "root": {"from": body.root.camera if parameters.root else "off"},
        "pitch": {"deg": round(pitch.degrees, 2), "std_deg": round(pitch.std, 2), "from": pitch.source},
        "floor": {"m_below_camera": round(-floor, 4), "from": "ankles" if parameters.floor else "off"},
    }
