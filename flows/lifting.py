"""Lift keypoint files one after the other, and write an output folder for each file: the work of `uplift lift`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import ExportFormat
from data_contracts.sources import KeypointSource, find_keypoints
from data_contracts.store.checking import verify_input
from data_contracts.store.folders import StageResult, resolve
from data_contracts.store.manifests import MANIFEST
from flows.stages import STAGES
from tasks.lifting.exports.writing import must_be_replaceable, write_people
from tasks.lifting.formats.folders import find_keypoint_files
from tasks.lifting.lift import lift_stage
from tasks.stage import Context, Pending, get_or_compute
from tasks.stage_runs.prefect_runs import run_logger
from tasks.tracking.models import find_lifting_model

Show = Callable[[StageResult, list[dict[str, object]]], None]


def lift_files(
    context: Context,
    source: str,
    model: str,
    export: Sequence[ExportFormat] = (),
    out: str | Path | None = None,
    show: Show = lambda *_: None,
) -> dict[str, Any]:
    """Lift a keypoint file, each keypoint file of a folder, or a keypoints stage; parameters as in `flows.lift.lift`.

    After each lifted file, `show` is called with the result of its lift stage and its people.

    Returns
    -------
    dict
        `model`: URI of the model. `files`: one entry per lifted file with `name`, `lifted` (folder of the lift stage),
        `cached` (whether the stage existed), `assumed` (lines for the terminal) and `people`. `failed`: name -> error.

    Raises
    ------
    InputError
        A single source or the model is refused, or no file of a folder could be lifted.
    """
    several = None if _is_stage(source) else find_keypoint_files(source)
    keypoints = {name: _read(one) for name, one in several.items()} if several else {"": _find(context.store, source)}
    lifter = find_lifting_model(context.store, model)
    stage = lift_stage(lifter)
    options = context.parameters.lift
    options = options.model_copy(update={"flip": lifter.flip if options.flip is None else options.flip})
    context = replace(context, parameters=context.parameters.model_copy(update={"lift": options}))
    top = Path(out or Path("lifted") / name_of(source))
    files: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for name, tracks in keypoints.items():
        try:
            must_be_replaceable(top / name)
            result = get_or_compute(stage, {"keypoints": tracks, "checkpoint": lifter.checkpoint}, context)
            verify_input(result.path)
            people = write_people(result.path, export, top / name)
        except InputError as error:
            if several is None:
                raise
            failed[name] = " ".join(str(error).split())
            run_logger().error("%s: %s", name, failed[name])
            continue
        about = {"lifted": result.folder, "cached": result.cached, "assumed": result.statistics.get("assumed", [])}
        files.append({"name": name or top.name, **about, "people": people})
        show(result, people)
    if not files:
        raise InputError(f"{source}: no file could be lifted: {'; '.join(failed.values())}")
    return {"model": lifter.uri, "files": files, "failed": failed}


def name_of(source: str) -> str:
    """Return the name of a file without its extension; a folder or digest keeps its whole name, e.g. `run.1`."""
    path = Path(source)
    if path.is_file():
        return path.stem
    return path.resolve().name if path.name in ("", "..") else path.name


def _find(store: Path, source: str) -> Pending | Path:
    """Return the folder of a keypoints stage that a path or digest names, or the stage that reads a keypoint file."""
    if _is_stage(source) or (source.isalnum() and not Path(source).exists()):
        return resolve(store, "keypoints", source)
    return _read(find_keypoints(source))


def _read(source: KeypointSource) -> Pending:
    return Pending(STAGES["keypoints"].task, {"source": source})


def _is_stage(source: str) -> bool:
    return (Path(source) / MANIFEST).is_file()
