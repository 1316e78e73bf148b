"""Describe the assumptions about keypoints and the repairs of tracks, as lines for the terminal."""

from collections.abc import Mapping
from typing import Any

from data_contracts.errors import some
from data_contracts.tracks.track import DEFAULT_FPS


def lines_of_keypoints(keypoints: Mapping[str, Any]) -> list[str]:
    """Return a line per assumption, repair and unknown value of a keypoints stage, from its statistics."""
    lines = lines_of_tracks(keypoints)
    if keypoints["fps"] is None:
        lines.append(f"frame rate: unknown, {DEFAULT_FPS:g} fps are assumed; pass --set keypoints.fps=...")
    if keypoints["width"] is None:
        lines.append(
            "image size: unknown, `uplift lift` assumes a common size that holds all keypoints;"
            " pass --set keypoints.width=... --set keypoints.height=..."
        )
    return lines


def lines_of_tracks(keypoints: Mapping[str, Any]) -> list[str]:
    """Return a line per assumption about skeleton and people, and per kind of repair."""
    lines = []
    if "skeleton_from" in keypoints:
        lines.append(f"skeleton: {keypoints['skeleton']} ({keypoints['skeleton_from']})")
    if keypoints.get("people_identified_by") == "pose and motion":
        lines.append("people: distinguished by pose and motion, because the file has no ids")
    repairs = keypoints.get("repairs", {})
    if cuts := repairs.get("scene_cuts"):
        lines.append(f"scene cuts: tracks end and begin at frame {some(cuts)}")
    if jumps := repairs.get("jumps"):
        lines.append(f"jumps: a person jumps away and does not come back; a new track begins at frame {some(jumps)}")
    if frames := repairs.get("exchanged_ids"):
        lines.append(f"ids: two people exchange their ids at frame {some(frames)}; the ids were exchanged back")
    if count := repairs.get("phantom_frames"):
        lines.append(f"phantoms: in {count} frames a person jumps away and back; these frames count as missing")
    if count := repairs.get("jumping_joints"):
        lines.append(f"joints: {count} detections of single joints jump away and back; they count as missing")
    legs, arms = repairs.get("exchanged_legs", 0), repairs.get("exchanged_arms", 0)
    if legs or arms:
        lines.append(
            f"sides: left and right are exchanged in {legs} frames (legs) and {arms} frames (arms); exchanged back"
        )
    if frames := repairs.get("unclear_sides"):
        lines.append(
            f"sides: left and right seem to be exchanged at frame {some(frames)}, but it is unclear for how long"
        )
    return lines
