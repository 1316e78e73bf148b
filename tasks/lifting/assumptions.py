"""List the values that a lift assumes because the keypoint file does not contain them, with the options to pass."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from model.lifting.lift import DEFAULT_HEIGHT_M
from tasks.lifting.track_lines import lines_of_tracks

_SLIDING_M_S = 0.6  # median speed of the slower foot of a sliding person; walking people have less than 0.3


def assumptions_of(keypoints: Mapping[str, Any], motions: Sequence[Motion], parameters: LiftParameters) -> list[str]:
    """Return a line per assumption; `keypoints` are the statistics of the keypoints stage of these `motions`."""
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
    speeds = [motion.about["feet"]["slower_foot_m_s"] or 0.0 for motion in motions]
    if parameters.root and max(speeds, default=0.0) > _SLIDING_M_S:
        lines.append(
            f"camera: does not move, but feet slide at {max(speeds):.1f} m/s; if the camera moves, pitch, floor and the"
            " path of the person are wrong; pass --set lift.root=false"
        )
    return lines


def _values(values: Iterable[float | str]) -> str:
    return ", ".join(dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values))
