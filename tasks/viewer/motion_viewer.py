"""Convert lifted motion to scenes of the viewer, one scene per video with all its subjects."""

import numpy as np

from data_contracts.motion.motion import Motion
from tasks.viewer.evaluation_viewer import Scene, Subject

MAX_PERSON_FRAMES = 20_000  # frames of all subjects of a video in the viewer; they take 11 MB


def lifted_scenes(motions: list[Motion]) -> list[Scene]:
    """Return one scene per video; a long video is cut, and the title of its scene contains the number of frames."""
    scenes = []
    for video in dict.fromkeys(motion.video for motion in motions):
        people = [motion for motion in motions if motion.video == video]
        begin = min(motion.first_frame for motion in people)
        end = max(motion.first_frame + motion.frames for motion in people)
        length = end - begin
        while length > 1 and sum(_frames(motion, begin, length) for motion in people) > MAX_PERSON_FRAMES:
            length = length * 9 // 10
        subjects = [_subject(motion, begin, _frames(motion, begin, length)) for motion in people]
        part = f", first {length:,} of {end - begin:,} frames" if length < end - begin else ""
        names = f"{len(people)} subjects" if len(people) > 1 else people[0].name
        subjects = [subject for subject in subjects if len(subject.pose_2d)]
        scenes.append(Scene(video or "video", f"{names}{part}", people[0].fps, subjects, axes="world"))
    return scenes


def _frames(motion: Motion, begin: int, length: int) -> int:
    """Return the number of frames of a motion within the first `length` frames of the video."""
    return min(motion.frames, max(0, begin + length - motion.first_frame))


def _subject(motion: Motion, begin: int, frames: int) -> Subject:
    pose_2d = motion.pose_2d[:frames]
    points = np.where(pose_2d[..., 2:] > 0, pose_2d[..., :2], np.nan)
    return Subject(motion.name, points, {"lifted": motion.joints[:frames]}, first=motion.first_frame - begin)
