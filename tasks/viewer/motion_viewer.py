"""Lifted people as scenes of the playing page: one a video, all its people at once, 2D beside 3D."""

import numpy as np

from data_contracts.motion.motion import Motion
from tasks.viewer.evaluation_viewer import Scene, Track

PERSON_FRAMES = 20_000  # of a video that are played at most: 11 MB


def lifted_scenes(motions: list[Motion]) -> list[Scene]:
    """A scene of each video; of a long one its beginning, which its title says."""
    scenes = []
    for video in dict.fromkeys(motion.video for motion in motions):
        people = [motion for motion in motions if motion.video == video]
        begin = min(motion.first_frame for motion in people)
        end = max(motion.first_frame + motion.frames for motion in people)
        shown = end - begin
        while shown > 1 and sum(_frames(motion, begin, shown) for motion in people) > PERSON_FRAMES:
            shown = shown * 9 // 10
        tracks = [_track(motion, begin, _frames(motion, begin, shown)) for motion in people]
        part = f", the first {shown:,} of {end - begin:,} frames" if shown < end - begin else ""
        names = f"{len(people)} people" if len(people) > 1 else people[0].name
        tracks = [track for track in tracks if len(track.pose_2d)]
        scenes.append(Scene(video or "video", f"{names}{part}", people[0].fps, tracks, axes="world"))
    return scenes


def _frames(motion: Motion, begin: int, shown: int) -> int:
    """How many of its frames lie within the first `shown` of the video."""
    return min(motion.frames, max(0, begin + shown - motion.first_frame))


def _track(motion: Motion, begin: int, frames: int) -> Track:
    pose_2d = motion.pose_2d[:frames]
    points = np.where(pose_2d[..., 2:] > 0, pose_2d[..., :2], np.nan)
    return Track(motion.name, points, {"lifted": motion.joints[:frames]}, first=motion.first_frame - begin)
