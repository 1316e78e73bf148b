"""Score lifted videos against marker truth, beside the detector's own 3D."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_contracts.errors import InputError
from data_contracts.motion.marker_truth import H36M_OF_TRUTH, read_truth
from data_contracts.motion.motion import Motion
from data_contracts.motion.video_scores import MEAN, VIDEO_METHODS, VideoScores, mean_scores
from data_contracts.parameters import KeypointsParameters, LiftParameters
from data_contracts.sources import KeypointSource, MarkedVideo
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.lifter import Lifter
from model.scoring.real_video import score_clip
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of


def score_videos(
    lifter: Lifter | None, videos: Sequence[MarkedVideo], options: LiftParameters = LiftParameters()
) -> dict[str, dict[str, VideoScores]]:
    """Return method (`VIDEO_METHODS`) -> clip, and `mean` -> scores; without a lifter, those of the detector only.

    Keypoints are read and lifted as by `uplift lift` with its default parameters, unless `options` differ. The longest
    track of a video is scored. `markers` are the scores of the truth itself.
    """
    truths = {video.name: read_truth(video.truth) for video in videos}
    scores: dict[str, dict[str, VideoScores]] = {method: {} for method in VIDEO_METHODS if lifter or method != "model"}
    for video in videos:
        truth, fps = truths[video.name].joints, truths[video.name].fps
        if lifter:
            scores["model"][video.name] = score_motion(lift_video(lifter, video, options), truth, fps)
        scores["detector"][video.name] = score_clip(truths[video.name].detector, truth, fps, has_path=False)
        scores["markers"][video.name] = score_clip(truth, truth, fps)
    return {method: with_mean(clips) for method, clips in scores.items()}


def with_mean(clips: Mapping[str, VideoScores]) -> dict[str, VideoScores]:
    """Return the scores of the clips, and their mean."""
    return {**clips, MEAN: mean_scores(list(clips.values()))}


def lift_video(lifter: Lifter, video: MarkedVideo, options: LiftParameters) -> Motion:
    """Return the motion of the longest track of a video."""
    parameters = KeypointsParameters()
    detections, _ = read_keypoints(KeypointSource(video.keypoints, (video.keypoints,)), parameters)
    tracks = [track for one in detections for track in tracks_of(one, parameters.max_gap)]
    if not tracks:
        raise InputError(f"{video.keypoints}: no joint has all keypoints that it is derived from")
    return lift_longest(lifter, tracks, options)


def lift_longest(lifter: Lifter, tracks: Sequence[Track], options: LiftParameters) -> Motion:
    """Return the motion of the longest track."""
    (motion,) = lift_people(lifter, [max(tracks, key=lambda track: len(track.pose_2d))], options)
    return motion


def score_motion(motion: Motion, truth: np.ndarray, fps: float) -> VideoScores:
    """Return the scores of a motion against the truth (frames, 12, 3) of all frames of its keypoint file."""
    joints = np.full(truth.shape, np.nan)
    rows = motion.joints[: max(len(joints) - motion.first_frame, 0), H36M_OF_TRUTH]
    joints[motion.first_frame : motion.first_frame + len(rows)] = rows
    return score_clip(joints, truth, fps, has_path=bool(np.isfinite(motion.root_std).any()))
