"""Lift tracks of keypoints to motion in metres.

1. `track_windows` lifts a track at the frame rate of the network.
2. `smoothing` resamples the poses to the frame rate of the track and removes jitter.
3. `skeleton_fit` scales the body to metres, and `translation` fits the root to the keypoints.
4. `video_fit` fits all people of a video together, with one camera and one floor.
5. `gravity` rotates the motion to a world with z up. Without step 4 it also estimates pitch and floor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from data_contracts.tracks.track import DEFAULT_FPS, Track
from model.lifting.cameras import PinholeCamera, camera_of
from model.lifting.contact import feet_speed
from model.lifting.gravity import Pitch, find_pitch, floor_height, to_world
from model.lifting.lifter import Lifter
from model.lifting.live import LiveLifter
from model.lifting.skeleton_fit import (
    ANKLE_SHARE,
    Body,
    bone_lengths,
    is_wholly_measured,
    metres_per_unit,
    stature_of,
    stretched,
    with_lengths,
    with_unseen_bones,
)
from model.lifting.smoothing import follow, resample_seen, resampled_rate, smooth_joints, values_at
from model.lifting.track_windows import lift_track
from model.lifting.translation import RootPath, find_root
from model.lifting.video_fit import fit_video

DEFAULT_HEIGHT_M, HEIGHT_STD_M = 1.70, 0.10  # adults
_EDGE = 0.03  # distance from the edge of the image, share of its longer side
_RARE = 0.1  # share of frames below which a joint is rarely detected
_WEAK = 0.5  # confidence of a doubtful keypoint, as a share of the track's median
_SIZE_STD, _PARTLY_SEEN_STD = 0.02, 0.04  # relative errors: known height or bones; partly undetected body


def lift_people(
    lifter: Lifter,
    tracks: Sequence[Track],
    parameters: LiftParameters,
    on_share: Callable[[float], None] = lambda _: None,
) -> list[Motion]:
    """Return the motion of each track of a file, in order; tracks of one video have the same camera and world axes.

    `on_share` is called with the finished share of the work in [0, 1].
    """
    motions: dict[int, Motion] = {}
    frames, done = sum(len(track.pose_2d) for track in tracks), 0

    def report(finished: float) -> None:
        on_share((done + finished) / frames)

    for video in dict.fromkeys(track.video for track in tracks):
        of_video = [number for number, track in enumerate(tracks) if track.video == video]
        camera = _camera([tracks[number] for number in of_video], parameters)
        lifted = []
        for number in of_video:
            lifted.append(_lifted(lifter, without_doubtful(tracks[number], camera), camera, parameters, report))
            done += len(tracks[number].pose_2d)
            report(0)
        world = _world(lifted, parameters)
        fitting = parameters.fit and not parameters.causal and parameters.camera != "weak"
        if fitting:
            lifted, world = _fitted(lifted, world, parameters)
        for number, one in zip(of_video, lifted, strict=True):
            motions[number] = _motion(f"person-{number}", one, camera, world, parameters)
    return [motions[number] for number in range(len(tracks))]


@dataclass(frozen=True)
class _Lifted:
    """A lifted track, and the path of its pelvis with standard deviations."""

    track: Track
    body: Body
    root: RootPath

    @property
    def fps(self) -> float:
        return self.track.fps or DEFAULT_FPS


@dataclass(frozen=True)
class _World:
    """Pitch, roll and floor of a video with standard deviations.

    `floor_m` is the height of the floor above the camera in metres. If `floor_m` is None (no fit), the floor is
    estimated for each person. `stances` is the number of contacts of feet with the floor.
    """

    pitch: Pitch
    roll_deg: float = 0.0
    roll_std: float = 0.0
    floor_m: float | None = None
    floor_std: float | None = None
    stances: int = 0


def _camera(tracks: list[Track], parameters: LiftParameters) -> PinholeCamera:
    seen = np.concatenate([track.pose_2d[track.pose_2d[..., 2] > 0][:, :2] for track in tracks])
    return camera_of(seen, tracks[0].width, tracks[0].height, parameters.fov_deg, parameters.focal_px)


def without_doubtful(track: Track, camera: PinholeCamera) -> Track:
    """Return the track without weak keypoints at the edge of the image or of rarely detected joints.

    A detector places joints that are outside the image at its edge, with low confidence.
    """
    points, confidence = track.pose_2d[..., :2], track.pose_2d[..., 2]
    size = np.array([camera.width, camera.height])
    edge = _EDGE * size.max()
    at_edge = ((points < edge) | (points > size - edge)).any(axis=-1)
    rare = (confidence > 0).mean(axis=0) < _RARE
    typical = np.median(confidence[confidence > 0]) if (confidence > 0).any() else 0.0
    doubtful = (at_edge | rare) & (confidence < _WEAK * typical)
    return replace(track, pose_2d=np.where(doubtful[..., None], 0, track.pose_2d))


def _lifted(
    lifter: Lifter, track: Track, camera: PinholeCamera, parameters: LiftParameters, report: Callable[[float], None]
) -> _Lifted:
    fps = track.fps or DEFAULT_FPS
    confidence = track.pose_2d[..., 2].astype(np.float64)
    rays = camera.rays(track.pose_2d[..., :2].astype(np.float64))
    height = parameters.height or DEFAULT_HEIGHT_M
    if parameters.causal:
        pose, size = _lift_causally(lifter, track, camera, fps, parameters, report)
        root = find_root(pose, rays, confidence, size, fps, parameters.camera, None, causal=True)
        if parameters.one_euro:
            root = replace(root, position=follow(root.position, fps, parameters.one_euro))
        return _Lifted(track, Body(rays, confidence, pose, root.position, bone_lengths(pose, confidence)), root)
    pose, size = _lift_whole(lifter, track, camera, fps, parameters)
    smoothing = parameters.smoothing
    if smoothing:
        pose = smooth_joints(pose, confidence, smoothing.cutoff_hz, fps, smoothing.order)
    lengths = bone_lengths(pose, confidence)
    if parameters.rigid or parameters.fit:
        pose = with_unseen_bones(pose, confidence, lengths, fps)
    metres = metres_per_unit(lengths, height, parameters.bones)
    cutoffs = (smoothing.cutoff_hz, smoothing.depth_cutoff_hz) if smoothing else None
    pose = pose * metres
    root = find_root(pose, rays, confidence, size / metres, fps, parameters.camera, cutoffs)
    return _Lifted(track, Body(rays, confidence, pose, root.position, lengths * metres), root)


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


def _world(lifted: list[_Lifted], parameters: LiftParameters) -> _World:
    if parameters.pitch_deg is not None:
        return _World(Pitch(parameters.pitch_deg, 0.0, "given"))
    bodies = [one.body for one in lifted]
    stretches = [stretched(body.lengths) for body in bodies]
    return _World(find_pitch([body.pose for body in bodies], [body.confidence for body in bodies], stretches))


def _fitted(lifted: list[_Lifted], world: _World, parameters: LiftParameters) -> tuple[list[_Lifted], _World]:
    """Return the lifted tracks of a video and its world after `fit_video`; a track without a root is not fitted."""
    found = [one for one in lifted if one.root.camera != "none"]
    if not found:
        return lifted, world
    known = {JOINTS.index(name) - 1: length for name, length in parameters.bones.items()}
    is_known = parameters.pitch_deg is not None
    start = world.pitch.degrees
    fit = fit_video([one.body for one in found], found[0].fps, start, is_known, known, parameters.root)
    pitch = world.pitch if is_known else Pitch(fit.pitch_deg, fit.pitch_std, "fit")
    fitted = []
    for one, joints, lengths in zip(found, fit.joints, fit.lengths, strict=True):
        pose = joints - joints[:, :1]
        pose = with_lengths(pose, lengths) if parameters.rigid else pose
        body = replace(one.body, pose=pose, position=joints[:, 0], lengths=lengths)
        fitted.append(replace(one, body=body))
    after = iter(fitted)
    world = _World(pitch, fit.roll_deg, fit.roll_std, fit.floor_m, fit.floor_std, fit.stances)
    return [next(after) if one.root.camera != "none" else one for one in lifted], world


def _motion(name: str, lifted: _Lifted, camera: PinholeCamera, world: _World, parameters: LiftParameters) -> Motion:
    track, body = lifted.track, lifted.body
    pose = to_world(body.pose, world.pitch.degrees, world.roll_deg)
    root = to_world(body.position, world.pitch.degrees, world.roll_deg)
    std = _turned_std(lifted.root.std, world.pitch.degrees)
    if not parameters.root or lifted.root.camera == "none":
        root, std = np.zeros_like(root), np.full_like(std, np.inf)
    floor = 0.0
    if parameters.floor:
        own = world.floor_m is None or not parameters.root or lifted.root.camera == "none"
        ankle = ANKLE_SHARE * stature_of(body.lengths)
        floor = floor_height(pose, root, body.confidence, ankle) if own else float(world.floor_m or 0.0)
    root = root - [0, 0, floor]
    return Motion(
        name=name,
        fps=lifted.fps,
        pose_3d=(pose - pose[:, :1]).astype(np.float32),
        root=root.astype(np.float32),
        root_std=std.astype(np.float32),
        confidence=body.confidence.astype(np.float32),
        interpolated=track.interpolated.astype(bool),
        pose_2d=np.where(track.pose_2d[..., 2:] > 0, track.pose_2d, np.nan).astype(np.float32),
        first_frame=track.first_frame,
        video=track.video,
        person=track.person,
        about=_about(lifted, camera, world, floor, parameters),
    )


def _turned_std(std: np.ndarray, pitch_deg: float) -> np.ndarray:
    """Convert standard deviations (..., 3) along camera axes, assumed independent, to world axes."""
    variance = np.where(np.isfinite(std), std, 0) ** 2
    cos, sin = np.cos(np.deg2rad(pitch_deg)) ** 2, np.sin(np.deg2rad(pitch_deg)) ** 2
    x, y, z = np.moveaxis(variance, -1, 0)
    turned = np.sqrt(np.stack([x, z * cos + y * sin, y * cos + z * sin], axis=-1))
    return np.where(np.isfinite(std), turned, np.inf)


def _about(
    lifted: _Lifted, camera: PinholeCamera, world: _World, floor: float, parameters: LiftParameters
) -> dict[str, Any]:
    """Return the estimated quantities, their sources and their uncertainty, as JSON."""
    track, body = lifted.track, lifted.body
    source = "bones" if parameters.bones else "height" if parameters.height else "default"
    relative_std = HEIGHT_STD_M / DEFAULT_HEIGHT_M if source == "default" else _SIZE_STD
    if source != "bones" and not is_wholly_measured(body.confidence):
        relative_std = float(np.hypot(relative_std, _PARTLY_SEEN_STD))
    floor_from = "ankles" if world.floor_m is None else "feet" if world.stances else "lowest joints"
    speed = feet_speed(body.pose + body.position[:, None], body.confidence, lifted.fps)
    return {
        "fps": {"value": lifted.fps, "from": "keypoints" if track.fps else "default"},
        "scale": {
            "stature_m": round(stature_of(body.lengths), 4),
            "from": source,
            "relative_std": round(relative_std, 3),
        },
        "camera": {
            "focal_px": round(camera.focal, 1),
            "from": camera.focal_from,
            "width": camera.width,
            "height": camera.height,
            "size_from": camera.size_from,
        },
        "root": {"from": lifted.root.camera if parameters.root else "off"},
        "pitch": {
            "deg": round(world.pitch.degrees, 2),
            "std_deg": round(world.pitch.std, 2),
            "from": world.pitch.source,
        },
        "roll": {"deg": round(world.roll_deg, 2), "std_deg": round(world.roll_std, 2)},
        "floor": {
            "m_below_camera": round(-floor, 4),
            "std_m": None if world.floor_std is None else round(world.floor_std, 4),
            "from": floor_from if parameters.floor else "off",
            "stances": world.stances,
        },
        "feet": {"slower_foot_m_s": None if np.isnan(speed) else round(speed, 3)},
    }
