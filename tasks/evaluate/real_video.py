"""Score lifted videos, and the detector's own 3D, against marker truth."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_contracts.errors import InputError
from data_contracts.labelled_scores import MEAN
from data_contracts.motion.marker_truth import H36M_OF_TRUTH, MarkerTruth, read_truth
from data_contracts.motion.motion import Motion
from data_contracts.motion.video_scores import VideoScores, mean_scores
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
    """Return the scores by method, then by clip; each method also has the mean of its clips.

    Methods: `model`, the longest track of each video, lifted with `options`; `detector`, the detector's own 3D;
    `markers`, the truth itself. Without a lifter there is no `model`.

    Raises
    ------
    InputError
        A file is damaged or has a wrong layout, or no frame of a clip has both a pose and truth.
    """
    truths = [read_truth(video.truth) for video in videos]  # a damaged file is refused before the lifting
    scores: dict[str, dict[str, VideoScores]] = {}
    for video, truth in zip(videos, truths, strict=True):
        try:
            for method, one in _scores(lifter, video, truth, options).items():
                scores.setdefault(method, {})[video.name] = one
        except InputError as error:
            raise InputError(f"{video.name}: {error}; see docs/results.md for the files of a clip") from error
    return {method: with_mean(clips) for method, clips in scores.items()}


def _scores(
    lifter: Lifter | None, video: MarkedVideo, truth: MarkerTruth, options: LiftParameters
) -> dict[str, VideoScores]:
    lifted = {"model": score_motion(lift_video(lifter, video, options), truth.joints, truth.fps)} if lifter else {}
    return {
        **lifted,
        "detector": score_clip(truth.detector, truth.joints, truth.fps, has_path=False),
        "markers": score_clip(truth.joints, truth.joints, truth.fps),
    }


def with_mean(clips: Mapping[str, VideoScores]) -> dict[str, VideoScores]:
    """Return `clips` and their mean, under the name `MEAN`."""
    return {**clips, MEAN: mean_scores(list(clips.values()))}


def lift_video(lifter: Lifter, video: MarkedVideo, options: LiftParameters) -> Motion:
    """Return the lifted motion of the longest track of a video; no track raises an InputError."""
    parameters = KeypointsParameters()
    detections, _ = read_keypoints(KeypointSource(video.keypoints, (video.keypoints,)), parameters)
    tracks = [track for one in detections for track in tracks_of(one, parameters.max_gap)]
    if not tracks:
        raise InputError(f"{video.keypoints}: no joint has all its keypoints in any frame")
    return lift_longest(lifter, tracks, options)


def lift_longest(lifter: Lifter, tracks: Sequence[Track], options: LiftParameters) -> Motion:
    """Return the motion of the longest track."""
    (motion,) = lift_people(lifter, [max(tracks, key=lambda track: len(track.pose_2d))], options)
    return motion


def score_motion(motion: Motion, truth: np.ndarray, fps: float) -> VideoScores:
    """Return the scores of a motion against `truth` (frames, 12, 3), with one row per frame of the keypoint file."""
    joints = np.full(truth.shape, np.nan)
    rows = motion.joints[: max(len(joints) - motion.first_frame, 0), H36M_OF_TRUTH]
    joints[motion.first_frame : motion.first_frame + len(rows)] = rows
    return score_clip(joints, truth, fps, has_path=bool(np.isfinite(motion.root_std).any()))
