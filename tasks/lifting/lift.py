"""Lift tracks of keypoints to motion in metres, one folder per person, as a cached stage."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as parquet

from data_contracts.bounds import describe_fault
from data_contracts.errors import InputError
from data_contracts.motion.bounds import MotionSummary, find_faults
from data_contracts.motion.motion import MOTION_FILE, Motion, write_motion
from data_contracts.parameters import PipelineParameters
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from data_contracts.tracks.table import KEYPOINTS_FILE, from_arrow
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.lifter import load_lifter
from model.training.devices import choose_device
from tasks.lifting.assumptions import assumptions_of
from tasks.stage import StageTask
from tasks.stage_runs.progress import report_progress
from tasks.tracking.models import LiftingModel
from tasks.viewer.evaluation_viewer import VIEWER_FILE, Scene, Subject, viewer_html

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

_MAX_PERSON_FRAMES = 20_000  # frames of all subjects of a video in the viewer; they take 11 MB


def lift_stage(model: LiftingModel) -> StageTask:
    """Return the stage that lifts tracks with `model`, a result of `tasks.tracking.models.find_lifting_model`."""
    return StageTask("lift", partial(_lift_tracks, model))


def _lift_tracks(
    model: LiftingModel,
    stage: Stage,
    tracked: "TrackedRun | None",
    parameters: PipelineParameters,
    keypoints: Path,
    checkpoint: Path,
) -> None:
    """Lift the tracks of a keypoints folder, and write `person-0/motion.npz` and so on, and a viewer."""
    options = parameters.lift
    if tracked:
        tracked.log_model_input(model.logged_model_id)
    tracks = select_tracks(from_arrow(parquet.read_table(keypoints / KEYPOINTS_FILE)), options.person)
    lifter = load_lifter(checkpoint, bool(options.flip)).to(choose_device(parameters.runtime))
    frames = sum(len(track.pose_2d) for track in tracks)
    with report_progress(stage.name, "frames", total=frames) as progress:
        motions = lift_people(lifter, tracks, options, lambda share: progress.reach(round(share * frames), frames))
    refuse_faults(motions, keypoints)
    for motion in motions:
        (stage.folder / motion.name).mkdir()
        write_motion(motion, stage.folder / motion.name / MOTION_FILE)
    statistics = read_manifest(keypoints)["statistics"]
    source = statistics.get("source", keypoints.name)
    page = viewer_html(f"{source}, lifted", _scenes(motions))
    (stage.folder / VIEWER_FILE).write_text(page, encoding="utf-8")
    counts = {"people": len(motions), "frames": sum(motion.frames for motion in motions)}
    if tracked:
        tracked.log_artifact(stage.folder / VIEWER_FILE)
        tracked.log_metrics({name: float(count) for name, count in counts.items()})
    stage.counts |= counts
    stage.statistics |= {
        "data": source,
        "model": model.uri,
        "window": lifter.window,
        "window_fps": lifter.fps,
        "assumed": assumptions_of(statistics, motions, options),
        "people": [_summary(motion) for motion in motions],
    }


def refuse_faults(motions: list[Motion], keypoints: str | Path) -> None:
    """Raise an InputError if a motion breaks the motion contract; the message begins with `keypoints`, its source."""
    for fault in find_faults(motions).itertuples():
        raise InputError(
            f"{keypoints}: {fault.motion} cannot be lifted: {describe_fault(MotionSummary, fault)}; check the skeleton,"
            " fps and image size of its keypoints (parameters keypoints.*), and lift.height (metres)"
        )


def select_tracks(tracks: list[Track], person: str) -> list[Track]:
    """Return the tracks that `person` selects: all, longest, largest (in the image), or a number."""
    match person:
        case "all":
            return tracks
        case "longest":
            return [max(tracks, key=lambda track: len(track.pose_2d))]
        case "largest":
            return [max(tracks, key=_height_px)]
    if int(person) >= len(tracks):
        raise InputError(
            f"lift.person={person}: person {person} does not exist; the file has persons 0 to {len(tracks) - 1}"
        )
    return [tracks[int(person)]]


def _height_px(track: Track) -> float:
    """Return the vertical extent in pixels of the detected joints of a track, as a median over the frames."""
    y = np.where(track.pose_2d[..., 2] > 0, track.pose_2d[..., 1], np.nan)
    seen = ~np.isnan(y).all(axis=1)
    return float(np.median(np.nanmax(y[seen], axis=1) - np.nanmin(y[seen], axis=1)))


def _scenes(motions: list[Motion]) -> list[Scene]:
    """Return one scene of the viewer per video; a long video is cut, and its title has the number of frames shown."""
    scenes = []
    for video in dict.fromkeys(motion.video for motion in motions):
        people = [motion for motion in motions if motion.video == video]
        begin = min(motion.first_frame for motion in people)
        end = max(motion.first_frame + motion.frames for motion in people)
        length = end - begin
        while length > 1 and sum(_frames_within(motion, begin, length) for motion in people) > _MAX_PERSON_FRAMES:
            length = length * 9 // 10
        cut = [(motion, _frames_within(motion, begin, length)) for motion in people]
        subjects = [_subject(motion, begin, frames) for motion, frames in cut if frames]
        part = f", first {length:,} of {end - begin:,} frames" if length < end - begin else ""
        names = f"{len(people)} subjects" if len(people) > 1 else people[0].name
        scenes.append(Scene(video or "video", f"{names}{part}", people[0].fps, subjects, axes="world"))
    return scenes


def _frames_within(motion: Motion, begin: int, length: int) -> int:
    """Return the number of frames of a motion within the first `length` frames of the video."""
    return min(motion.frames, max(0, begin + length - motion.first_frame))


def _subject(motion: Motion, begin: int, frames: int) -> Subject:
    pose_2d = motion.pose_2d[:frames]
    points = np.where(pose_2d[..., 2:] > 0, pose_2d[..., :2], np.nan)
    return Subject(motion.name, points, {"lifted": motion.joints[:frames]}, first=motion.first_frame - begin)


def _summary(motion: Motion) -> dict[str, object]:
    return {
        "name": motion.name,
        "video": motion.video,
        "person": motion.person,
        "first_frame": motion.first_frame,
        "frames": motion.frames,
        "fps": motion.fps,
        "interpolated_share": round(float(motion.interpolated.mean()), 4),
        "missing_share": round(float((motion.confidence == 0).mean()), 4),
        **motion.about,
    }
