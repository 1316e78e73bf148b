"""Convert a detector's 2D keypoints to tracks of H36M joints in pixels, as a cached stage."""

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters, PipelineParameters
from data_contracts.skeleton import JOINTS
from data_contracts.sources import KeypointSource
from data_contracts.store.folders import Stage
from data_contracts.text import csv_text
from data_contracts.tracks.table import KEYPOINTS_FILE, SHORT_TRACKS_FILE, find_faults, to_arrow
from data_contracts.tracks.track import Track
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import long_and_short
from tasks.lifting.video.detecting import LANDMARKS_FILE, detect, detector_python
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import report_progress

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

_MOST_LISTED = 100  # frames of each kind of repair in the manifest


def read_tracks(
    stage: Stage, tracked: "TrackedRun | None", parameters: PipelineParameters, source: KeypointSource
) -> None:
    """Write the tracks of the people in a keypoint file, a keypoint folder or a video to the folder of `stage`.

    Raise an InputError if the source cannot be read, or has no track with `keypoints.min_frames` frames.
    """
    options = parameters.keypoints
    keypoints, cut_off = _detected(source, options, stage) if source.is_video else (source, [])
    videos, warnings = read_keypoints(keypoints, options)
    warnings = cut_off + warnings
    for warning in warnings:
        run_logger().warning(warning)
    tracks, short = long_and_short(source.path, videos, options)
    table = to_arrow(tracks)
    faults = find_faults(table)
    assert faults.empty, f"tracks break their contract: {faults.to_dict('records')[0]}"
    parquet.write_table(table, stage.folder / KEYPOINTS_FILE, compression="zstd")
    _table_of(short).to_csv(stage.folder / SHORT_TRACKS_FILE, index=False)
    if tracked:
        tracked.log_artifact(stage.folder / SHORT_TRACKS_FILE)
    detected = [((track.pose_2d[..., 2] > 0) & ~track.interpolated).any(axis=1) for track in tracks]
    stage.counts |= {
        "tracks": len(tracks),
        "frames": len(table),
        "interpolated_frames": len(table) - int(sum(frames.sum() for frames in detected)),
        "short_tracks": len(short),
    }
    stage.statistics |= {"source": source.path.name, "data": stage.data, "warnings": warnings}
    stage.statistics |= _statistics(videos, tracks)
    stage.statistics["repairs"] = _repairs(tracks, short)


def _detected(
    source: KeypointSource, parameters: KeypointsParameters, stage: Stage
) -> tuple[KeypointSource, list[str]]:
    """Detect keypoints in a video and write them to the stage's folder; return the written source, and warnings."""
    detector_python(source.path)  # refuses a missing detector before the log reports a detection
    target, start = stage.folder / LANDMARKS_FILE, time.perf_counter()
    run_logger().info("%s: detecting keypoints with %s", source.path.name, parameters.detector)
    with report_progress(stage.name, "frames") as progress:
        detect(source.path, parameters.detector, target, progress.reach)
    with np.load(target) as detected:
        seen = np.isfinite(detected["landmarks"]).all(axis=(1, 2))
        made_by, expected = str(detected["made_by"]), int(detected["frames_in_header"])
    if not seen.any():
        raise InputError(
            f"{source.path}: {parameters.detector} detected no person in {len(seen)} frames; pass a video of a whole"
            " person, or the keypoint file of another detector (docs/keypoints.md)"
        )
    stage.counts |= {"video_frames": len(seen), "frames_with_a_person": int(seen.sum())}
    seconds = time.perf_counter() - start
    stage.statistics |= {"detector": parameters.detector, "made_by": made_by, "seconds_of_detection": seconds}
    is_cut = len(seen) < expected
    reason = "the video is trimmed (edit list) or cut off"
    warnings = [f"{source.path}: {len(seen)} of the {expected} frames were decoded; {reason}"] if is_cut else []
    return KeypointSource(target, (target,)), warnings


def _statistics(videos: list[Detections], tracks: list[Track]) -> dict[str, object]:
    confidence = np.concatenate([track.pose_2d[..., 2] for track in tracks])
    interpolated = np.concatenate([track.interpolated for track in tracks])
    first = videos[0]
    return {
        "format": str(first.format),
        "skeleton": str(first.skeleton),
        "skeleton_from": first.skeleton_from,
        "people_identified_by": "pose and motion" if first.person is None else "the file",
        "fps": first.fps,
        "width": first.width,
        "height": first.height,
        "videos": len(videos),
        "detections": int(sum(len(video.frame) for video in videos)),
        "confidence": float(confidence[confidence > 0].mean()),
        "missing": {name: float(share) for name, share in zip(JOINTS, (confidence == 0).mean(axis=0), strict=True)},
        "interpolated": {name: float(share) for name, share in zip(JOINTS, interpolated.mean(axis=0), strict=True)},
    }


def _repairs(tracks: list[Track], short: list[Track]) -> dict[str, object]:
    """Return the numbers or frames of repairs by kind; short tracks add only scene cuts, jumps and exchanged ids."""

    def at(reason: str) -> list[int | str]:
        return _frames([(track.video, track.first_frame) for track in found if track.repairs.begins_with == reason])

    found = tracks + short
    exchanged = [(track.video, frame) for track in found for frame in track.repairs.exchanged_ids]
    unclear = [(track.video, frame) for track in tracks for frame in track.repairs.unclear_sides]
    counts = ("phantom_frames", "jumping_joints", "exchanged_legs", "exchanged_arms")
    sums = {name: sum(getattr(track.repairs, name) for track in tracks) for name in counts}
    return {
        **{"scene_cuts": at("scene cut"), "jumps": at("jump")},
        **{"exchanged_ids": _frames(exchanged), "unclear_sides": _frames(unclear)},
        **sums,
    }


def _frames(places: list[tuple[str, int]]) -> list[int | str]:
    """Return the frames of the first `_MOST_LISTED` different places (video, frame), e.g. 5 or "video: 5"."""
    return [f"{video}: {frame}" if video else frame for video, frame in dict.fromkeys(places)][:_MOST_LISTED]


def _table_of(tracks: list[Track]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "video": [csv_text(track.video) for track in tracks],
            "person": [track.person for track in tracks],
            "first_frame": [track.first_frame for track in tracks],
            "last_frame": [track.first_frame + len(track.pose_2d) - 1 for track in tracks],
            "frames": [len(track.pose_2d) for track in tracks],
            "confidence": [track.pose_2d[..., 2].mean() for track in tracks],
        }
    )
