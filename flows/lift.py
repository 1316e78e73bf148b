"""Anyone's 2D keypoints -> motion that people can use: read, lifted, and written as what other tools open."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed

from data_contracts.errors import InputError, some
from data_contracts.parameters import ExportFormat, KeypointsParameters
from data_contracts.presets import DEFAULT, load_preset
from data_contracts.report import StageResult
from data_contracts.sources import KeypointSource, find_keypoint_files, find_keypoints
from data_contracts.store.checking import verify_input
from data_contracts.store.folders import default_store, resolve
from data_contracts.store.manifests import MANIFEST
from flows.prefect_ui.artifacts import LIFTED_TEXT, show_page, show_people, show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.lifting.exports.folders import must_be_replaceable, write_people
from tasks.lifting.keypoints import read_tracks
from tasks.lifting.lift import lift_tracks
from tasks.tracking.links import stage_artifact
from tasks.tracking.registry import CHAMPION, MODEL_NAME, find_lifting_model
from tasks.viewer.evaluation_viewer import VIEWER_FILE

OUT = "lifted"


@flow(name="lift", flow_run_name=name_flow_run)
@described
def lift(
    source: str,
    model: str = f"models:/{MODEL_NAME}@{CHAMPION}",
    export: list[ExportFormat] | None = None,
    out: str | None = None,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    store: str | None = None,
) -> Any:
    """Lift 2D keypoints of any detector to motion in metres, a folder for each person.

    Parameters
    ----------
    source
        Path of a keypoint file, of a folder with one JSON file per frame, or of a folder of keypoint files, each of
        which gets its own folder; or folder or digest of a keypoints stage.
    model
        MLflow model URI, run folder or digest, or checkpoint file.
    export
        Formats to write in addition to motion.npz.
    out
        Folder to write to. Default: lifted/NAME in the working directory.

    Returns
    -------
    dict
        `model`: its URI; `files`: of each its `people` with their folders; `failed`: file -> why.
    """
    root, parameters = default_store(store), load_preset(preset, overrides)
    several = None if _is_stage(source) else find_keypoint_files(source)
    found = find_lifting_model(root, model)
    top = Path(out or Path(OUT) / name_of(source))
    files: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    one_source: dict[str, KeypointSource | str] = {"": source}
    for name, one in (several or one_source).items():
        try:
            must_be_replaceable(top / name)
            result = lift_tracks(
                root, _read(root, one, parameters.keypoints), found, parameters.lift, parameters.runtime
            )
            verify_input(result.path)
            people = write_people(result.path, export or [], top / name)
        except InputError as error:
            if several is None:
                raise
            failed[name] = " ".join(str(error).split())
            get_run_logger().error("%s: %s", name, failed[name])
            continue
        files.append({"name": name or top.name, "lifted": result.folder, "cached": result.cached, "people": people})
        _show(root, result, people)
    if not files:
        raise InputError(f"{source}: nothing of it was lifted: {'; '.join(failed.values())}")
    said = f"{sum(len(file['people']) for file in files)} people of {len(files)} file(s), by {found.uri}"
    not_lifted = f"; {len(failed)} not lifted: {some(list(failed))}" if failed else ""
    outcome = {"model": found.uri, "files": files, "failed": failed}
    return Completed(message=f"{said}{not_lifted}", data=outcome)


def name_of(source: str) -> str:
    """What a source is called: a file without its ending, a folder or a digest as it is (`run.1` is not `run.2`)."""
    path = Path(source)
    if path.is_file():
        return path.stem
    return path.resolve().name if path.name in ("", "..") else path.name


def _read(store: Path, source: KeypointSource | str, parameters: KeypointsParameters) -> Path:
    """The keypoints folder of a source, or the one that a path or digest names already."""
    if isinstance(source, KeypointSource):
        return read_tracks(store, source, parameters).path
    if not Path(source).exists() or _is_stage(source):
        return resolve(store, "keypoints", source)
    return read_tracks(store, find_keypoints(source), parameters).path


def _is_stage(source: str) -> bool:
    """What a stage left, whose files are no sources."""
    return (Path(source) / MANIFEST).is_file()


def _show(store: Path, result: StageResult, people: list[dict[str, object]]) -> None:
    """What the flow run shows of a file."""
    show_stage(result)
    show_people(people, result.statistics["people"])
    show_page(stage_artifact(store, result.digest, VIEWER_FILE), "lifted", LIFTED_TEXT)
