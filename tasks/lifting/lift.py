"""Tracks of keypoints -> motion in metres, a folder for each person; so that the same keypoints are lifted once."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as parquet

from data_contracts.errors import InputError
from data_contracts.motion.bounds import find_faults, summarise
from data_contracts.motion.motion import MOTION_FILE, Motion, write_motion
from data_contracts.parameters import LiftParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store import stage_keys
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from data_contracts.tracks.table import KEYPOINTS_FILE, from_arrow
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.track_windows import Lifting
from model.training.checkpoints import load_network, read_about
from model.training.devices import choose_device
from tasks.stage_runs.prefect_runs import task
from tasks.stage_runs.progress import report_progress
from tasks.stage_runs.tracked_stage import run_stage, run_untracked_stage
from tasks.tracking.models import LiftingModel
from tasks.viewer.evaluation_viewer import VIEWER_FILE, viewer_html
from tasks.viewer.motion_viewer import lifted_scenes

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun


@task()
def lift_tracks(
    store: Path,
    keypoints: Path,
    model: LiftingModel,
    parameters: LiftParameters,
    runtime: Runtime,
    track: bool = True,
) -> StageResult:
    """Lift the tracks of a keypoints folder; leaves `person-0/motion.npz` and so on, and a page that plays.

    Parameters
    ----------
    model
        As `tasks.tracking.models.find_lifting_model` found it.
    track
        Write an MLflow run.

    Raises
    ------
    InputError
        The model gives back 2D poses, or nobody is there whom `parameters.person` names.
    """
    wanted = parameters.model_copy(update={"flip": model.flip if parameters.flip is None else parameters.flip})
    identity = stage_keys.lift(keypoints, model.checkpoint, wanted)

    def lift(stage: Stage, tracked: "TrackedRun | None") -> None:
        if tracked:
            tracked.log_model_input(model.logged_model_id)
        tracks = chosen(from_arrow(parquet.read_table(keypoints / KEYPOINTS_FILE)), parameters.person)
        lifting = open_lifting(model.checkpoint, bool(wanted.flip), runtime)
        frames = sum(len(track.pose_2d) for track in tracks)
        with report_progress(stage.name, "frames", total=frames) as shown:
            motions = lift_people(lifting, tracks, wanted, lambda share: shown.reach(round(share * frames), frames))
        faults = find_faults(summarise(motions))
        if not faults.empty:
            fault = faults.iloc[0]
            raise InputError(
                f"{keypoints}: {fault['motion']} cannot be lifted: {fault['check']} {fault['value']} breaks"
                f" {fault['bound']}"
            )
        for motion in motions:
            (stage.folder / motion.name).mkdir()
            write_motion(motion, stage.folder / motion.name / MOTION_FILE)
        source = read_manifest(keypoints)["statistics"].get("source", keypoints.name)
        page = viewer_html(f"{source}, lifted", lifted_scenes(motions))
        (stage.folder / VIEWER_FILE).write_text(page, encoding="utf-8")
        counts = {"people": len(motions), "frames": sum(motion.frames for motion in motions)}
        if tracked:
            tracked.log_artifact(stage.folder / VIEWER_FILE)
            tracked.log_metrics({name: float(count) for name, count in counts.items()})
        stage.counts |= counts
        stage.statistics |= {
            "data": source,
            "model": model.uri,
            "window": lifting.window,
            "window_fps": lifting.fps,
            "people": [_told(motion) for motion in motions],
        }

    if not track:
        return run_untracked_stage(store, identity, lift)
    return run_stage(store, identity, None, lift)


def chosen(tracks: list[Track], person: str) -> list[Track]:
    """The tracks that are wanted: all, the longest, the largest in the image, or one by its number.

    Raises
    ------
    InputError
        There is none of that number.
    """
    match person:
        case "all":
            return tracks
        case "longest":
            return [max(tracks, key=lambda track: len(track.pose_2d))]
        case "largest":
            return [max(tracks, key=_height_px)]
    if int(person) >= len(tracks):
        raise InputError(f"person {person}: there are tracks 0 to {len(tracks) - 1}")
    return [tracks[int(person)]]


def open_lifting(checkpoint: Path, flip: bool, runtime: Runtime) -> Lifting:
    """The network of a checkpoint on this machine's device, with what it was trained on.

    Raises
    ------
    InputError
        It is not readable, or gives back 2D poses.
    """
    network, about = load_network(checkpoint), read_about(checkpoint)
    if network.config.dim_out != 3:
        raise InputError(f"{checkpoint}: gives back 2D poses: it is pretrained only; fine-tune it first")
    device = choose_device(runtime)
    return Lifting(network.to(device), int(about.get("window", network.config.max_frames)), about.get("fps"), flip)


def _height_px(track: Track) -> float:
    """Median height of what is seen of a person."""
    y = np.where(track.pose_2d[..., 2] > 0, track.pose_2d[..., 1], np.nan)
    seen = ~np.isnan(y).all(axis=1)
    return float(np.median(np.nanmax(y[seen], axis=1) - np.nanmin(y[seen], axis=1)))


def _told(motion: Motion) -> dict[str, object]:
    """What the manifest says of a person."""
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
