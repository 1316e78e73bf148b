"""List the values that a lift assumes, and its estimates that may be wrong, with the options to pass."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import JOINTS
from model.lifting.contact import ankle_speeds
from model.lifting.lift import DEFAULT_HEIGHT_M
from model.lifting.skeleton_fit import RARELY_SEEN
from tasks.lifting.track_lines import lines_of_tracks

# Limits between a still and a moving camera, from projected motion of CMU and UI-PRMD
_SLIDING_M_S = 0.4  # of the slower foot; before a still camera, a tenth of the frames are below, except for runners
_FOLLOWED = 1.4  # ratio of the slower foot's speed to the body's, behind a camera that follows; dancers have up to 1.2
_RUNNING_M_S = (2.2, 1.6)  # of the body (runners: over 2.7), and of the faster foot relative to it (walkers: 1.2)
_PITCH_STD_DEG, _ROLL_DEG = 6.0, 4.5  # larger values are reported; most cameras roll by less than 1.5 degrees
_ABOVE_FLOOR_M, _LOWEST_SHARE = 0.15, 0.02  # height of the lowest joints, a share of all joints


def assumptions_of(keypoints: Mapping[str, Any], motions: Sequence[Motion], parameters: LiftParameters) -> list[str]:
    """Return a line per assumption or doubt; `keypoints` are the statistics of the keypoints stage of `motions`."""
    lines = lines_of_tracks(keypoints)
    cameras = [motion.about["camera"] for motion in motions]
    if rates := _values(motion.about["fps"]["value"] for motion in motions if motion.about["fps"]["from"] == "default"):
        lines.append(f"frame rate: {rates} fps assumed; pass --fps")
    sizes = _values(f"{one['width']} x {one['height']}" for one in cameras if one["size_from"] == "assumed")
    if sizes:
        lines.append(
            f"image size: {sizes} assumed, a common size that holds all keypoints;"
            " pass --set keypoints.width=... --set keypoints.height=..."
        )
    is_default = parameters.fov_deg == LiftParameters.model_fields["fov_deg"].default
    if is_default and any(one["from"] == "field of view" for one in cameras):
        lines.append(
            f"field of view: {parameters.fov_deg:g} degrees along the longer side assumed;"
            " pass --set lift.fov_deg=... or --set lift.focal_px=..."
        )
    if any(motion.about["scale"]["from"] == "default" for motion in motions):
        lines.append(f"height: {DEFAULT_HEIGHT_M:.2f} m assumed; pass --height")
    lines += _doubts(motions)
    speeds = [motion.about["feet"]["slower_foot_m_s"] or 0.0 for motion in motions if _is_sliding(motion)]
    if parameters.root and speeds and not parameters.causal:
        lines.append(
            f"camera: does not move, but feet slide at {max(speeds):.1f} m/s; if the camera moves, pitch, floor and the"
            " path of the person are wrong; pass --set lift.root=false"
        )
    return lines


def _is_sliding(motion: Motion) -> bool:
    """Return whether no foot ever stands and the person does not run, or both feet are faster than the body."""
    feet = ankle_speeds(motion.joints, motion.confidence, motion.fps).min(axis=1)
    if not len(feet) or np.median(feet) < _SLIDING_M_S:
        return False
    strides = ankle_speeds(motion.pose_3d, motion.confidence, motion.fps).max(axis=1)
    body = np.median(np.linalg.norm(np.diff(motion.root, axis=0), axis=-1)) * motion.fps
    is_standing = np.quantile(feet, 0.1) < _SLIDING_M_S
    is_running = body > _RUNNING_M_S[0] and np.median(strides) > _RUNNING_M_S[1]
    return bool(np.median(feet) > _FOLLOWED * body or not (is_standing or is_running))


def _doubts(motions: Sequence[Motion]) -> list[str]:
    """Return a line per estimate that may be wrong: joints without detections, pitch, roll, height above the floor."""
    lines = []
    for motion in motions:
        if len(rare := np.flatnonzero((motion.confidence > 0).mean(axis=0) < RARELY_SEEN)):
            names = ", ".join(JOINTS[joint].replace("_", " ") for joint in rare)
            lines.append(f"joints: {names} of {motion.name} are hardly ever detected; their positions are guesses")
    for video in dict.fromkeys(motion.video for motion in motions):
        about = next(motion.about for motion in motions if motion.video == video)
        pitch, roll = about["pitch"], about["roll"]["deg"]
        if pitch["std_deg"] > _PITCH_STD_DEG:
            lines.append(
                f"pitch: {pitch['deg']:.0f} ± {pitch['std_deg']:.0f} degrees; if the motion leans,"
                " pass --set lift.pitch_deg=..."
            )
        if abs(roll) > _ROLL_DEG:
            lines.append(
                f"roll: the camera seems to be rolled by {roll:.0f} degrees; if it is level, the motion leans:"
                " lift people of different height one by one, with --person and --height"
            )
    for motion in motions:
        if motion.about["floor"]["from"] == "off" or not np.isfinite(motion.root_std).all():
            continue
        if (lowest := np.quantile(motion.joints[..., 2], _LOWEST_SHARE)) > _ABOVE_FLOOR_M:
            lines.append(
                f"floor: {motion.name} stays {lowest:.1f} m above the floor; if this is wrong,"
                " lift people of different height one by one, with --person and --height"
            )
    return lines


def _values(values: Iterable[float | str]) -> str:
    return ", ".join(dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values))
