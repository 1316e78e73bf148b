"""Lift tracks of keypoints to motion in metres.

1. `track_windows` lifts a track at the frame rate of the network.
2. `smoothing` resamples the poses to the frame rate of the track and removes jitter.
3. `skeleton_fit` scales the body to metres, and `translation` fits the root to the keypoints.
4. `video_fit` fits all people of a video together, with one camera and one floor.
5. `gravity` rotates the motion to a world with z up. Without step 4 its estimates of pitch and floor are used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import JOINTS
from data_contracts.tracks.track import DEFAULT_FPS, Track
from model.lifting.cameras import PinholeCamera, camera_of
from model.lifting.contact import ANKLES, feet_speed
from model.lifting.gravity import Pitch, find_pitch, floor_height, to_world, turned_std
from model.lifting.lifter import Lifter
from model.lifting.live import LiveLifter
from model.lifting.skeleton_fit import (
    ANKLE_SHARE,
    RARELY_SEEN,
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
_LIFTING_SHARE = 0.2  # share of the work before the fit
_DISTANCE_STD = 0.025  # relative error of the distance from errors of the pose; 13 projected clips
_EDGE = 0.03  # distance from the edge of the image, share of its longer side
_WEAK, _WEAKEST = 0.5, 0.15  # a doubtful keypoint has less of the typical confidence: at the edge or if rare; anywhere
_KNEES = tuple(JOINTS.index(f"{side}_knee") for side in ("left", "right"))
_TYPICAL = 0.75  # quantile of the confidences; the median is weak if the detector guesses the legs of all frames
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
    fitting = parameters.fit and not parameters.causal and parameters.camera != "weak"
    of_lifting = _LIFTING_SHARE if fitting else 1.0
    frames, done = sum(len(track.pose_2d) for track in tracks), 0.0

    def report(finished: float, of: float = of_lifting) -> None:
        on_share((done + of * finished) / frames)

    for video in dict.fromkeys(track.video for track in tracks):
        of_video = [number for number, track in enumerate(tracks) if track.video == video]
        camera = _camera([tracks[number] for number in of_video], parameters)
        lifted = []
        for number in of_video:
            lifted.append(_lifted(lifter, without_doubtful(tracks[number], camera), camera, parameters, report))
            done += of_lifting * len(tracks[number].pose_2d)
            report(0)
        world = _world(lifted, parameters)
        if fitting:
            rest = (1 - of_lifting) * sum(len(tracks[number].pose_2d) for number in of_video)
            lifted, world = _fitted(lifted, world, parameters, partial(report, of=rest))
            done += rest
            report(0)
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
    """Return `track` with doubtful keypoints set to 0: very weak, or weak and at the image's edge or rarely detected.

    A detector moves joints that are outside the image to its edge or onto the body, with low confidence. Knees or
    ankles count as rarely detected if both sides are weak in nearly all frames.
    """
    points, confidence = track.pose_2d[..., :2], track.pose_2d[..., 2]
    size = np.array([camera.width, camera.height])
    edge = _EDGE * size.max()
    at_edge = ((points < edge) | (points > size - edge)).any(axis=-1)
    typical = np.quantile(confidence[confidence > 0], _TYPICAL) if (confidence > 0).any() else 0.0
    rare = (confidence > 0).mean(axis=0) < RARELY_SEEN
    strong = (confidence >= _WEAK * typical).mean(axis=0)
    for pair in (ANKLES, _KNEES):
        rare[list(pair)] |= strong[list(pair)].max() < RARELY_SEEN
    doubtful = (at_edge | rare) & (confidence < _WEAK * typical) | (confidence < _WEAKEST * typical)
    return replace(track, pose_2d=np.where(doubtful[..., None], 0, track.pose_2d))


def _lifted(
    lifter: Lifter, track: Track, camera: PinholeCamera, parameters: LiftParameters, report: Callable[[float], None]
) -> _Lifted:
    fps = track.fps or DEFAULT_FPS
    confidence = track.pose_2d[..., 2].astype(np.float64)
    rays = camera.rays(track.pose_2d[..., :2].astype(np.float64))
    height = parameters.height or DEFAULT_HEIGHT_M
    if parameters.causal:
        live = LiveLifter(lifter, camera, fps, height, 0.0, parameters.one_euro, parameters.bones)
        pose, size = live.push_all(track.pose_2d, report)
        root = find_root(pose, rays, confidence, size, fps, parameters.camera, None, causal=True)
        if parameters.one_euro:
            root = replace(root, position=follow(root.position, fps, parameters.one_euro))
        return _Lifted(track, Body(rays, confidence, pose, root.position, bone_lengths(pose, confidence)), root)
    pose, size = lift_poses(lifter, track.pose_2d, camera, fps, parameters)
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


def lift_poses(
    lifter: Lifter, pose_2d: np.ndarray, camera: PinholeCamera, fps: float, parameters: LiftParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Return poses (frames, 17, 3) and sizes (frames,) of `lift_track`, resampled to the frame rate of the track."""
    rate = resampled_rate(fps, lifter.fps or fps)
    stride = min(parameters.stride or max(1, lifter.window // 3), lifter.window)
    pose, size = lift_track(lifter, resample_seen(pose_2d, fps, rate), camera, stride, parameters.batch_size)
    place = np.arange(len(pose_2d)) * rate / fps
    return values_at(pose, place), values_at(size, place)


def _world(lifted: list[_Lifted], parameters: LiftParameters) -> _World:
    if parameters.pitch_deg is not None:
        return _World(Pitch(parameters.pitch_deg, 0.0, "given"))
    bodies = [one.body for one in lifted]
    stretches = [stretched(body.lengths) for body in bodies]
    return _World(find_pitch([body.pose for body in bodies], [body.confidence for body in bodies], stretches))


def _fitted(
    lifted: list[_Lifted], world: _World, parameters: LiftParameters, on_share: Callable[[float], None]
) -> tuple[list[_Lifted], _World]:
    """Return the lifted tracks of a video and its world after `fit_video`; a track without a root is not fitted."""
    found = [one for one in lifted if one.root.camera != "none"]
    if not found:
        return lifted, world
    known = {JOINTS.index(name) - 1: length for name, length in parameters.bones.items()}
    is_known = parameters.pitch_deg is not None
    start = world.pitch.degrees
    fit = fit_video([one.body for one in found], found[0].fps, start, is_known, known, parameters.root, on_share)
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
    known = parameters.root and lifted.root.camera != "none"
    root = root if known else np.zeros_like(root)
    floor = 0.0
    if parameters.floor:
        own = world.floor_m is None or not known
        ankle = ANKLE_SHARE * stature_of(body.lengths)
        floor = floor_height(pose, root, body.confidence, ankle) if own else float(world.floor_m or 0.0)
    root = root - [0, 0, floor]
    _, scale_std = _scale_of(lifted, parameters)
    std = _root_std(lifted, world, root[:, 2], scale_std) if known else np.full_like(root, np.inf)
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


def _root_std(lifted: _Lifted, world: _World, height_m: np.ndarray, relative_std: float) -> np.ndarray:
    """Return the standard deviations (frames, 3) of the root along world axes; `height_m` (frames,) is its height.

    Errors of scale and distance are proportional to the distance. Feet determine the height above a fitted floor.
    """
    of_distance = np.hypot(relative_std, _DISTANCE_STD)
    std = turned_std(np.hypot(lifted.root.std, of_distance * np.abs(lifted.body.position)), world.pitch.degrees)
    if world.floor_std is not None:
        std[:, 2] = np.hypot(np.hypot(lifted.root.std[:, 1], world.floor_std), relative_std * height_m)
    return std


def _scale_of(lifted: _Lifted, parameters: LiftParameters) -> tuple[str, float]:
    """Return the source of the scale, and its relative standard deviation."""
    source = "bones" if parameters.bones else "height" if parameters.height else "default"
    relative_std = HEIGHT_STD_M / DEFAULT_HEIGHT_M if source == "default" else _SIZE_STD
    if source != "bones" and not is_wholly_measured(lifted.body.confidence):
        relative_std = float(np.hypot(relative_std, _PARTLY_SEEN_STD))
    return source, relative_std


def _about(
    lifted: _Lifted, camera: PinholeCamera, world: _World, floor: float, parameters: LiftParameters
) -> dict[str, Any]:
    """Return the estimated quantities, their sources and their uncertainty, as JSON values."""
    track, body = lifted.track, lifted.body
    source, relative_std = _scale_of(lifted, parameters)
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
