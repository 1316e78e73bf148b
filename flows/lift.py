"""Prefect flow that lifts keypoint files."""

from collections.abc import Sequence
from typing import Any

from prefect.states import Completed

from data_contracts.errors import some
from data_contracts.parameters import ExportFormat
from data_contracts.parameters.presets import DEFAULT, load_preset
from data_contracts.store.folders import StageResult, default_store
from flows.lifting import lift_files
from flows.prefect_ui.artifacts import LIFTED_TEXT, show_page, show_people, show_stage
from flows.prefect_ui.flow import uplift_flow
from tasks.stage import Context
from tasks.tracking.links import stage_artifact
from tasks.tracking.models import default_model
from tasks.viewer.evaluation_viewer import VIEWER_FILE


@uplift_flow
def lift(
    source: str,
    model: str | None = None,
    export: list[ExportFormat] | None = None,
    out: str | None = None,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    store: str | None = None,
) -> Any:
    """Lift 2D keypoints of any detector to 3D motion in metres; write one folder per person.

    Parameters
    ----------
    source
        Path of a keypoint file, of a folder with one JSON file per frame, or of a folder of keypoint files, each of
        which gets its own folder; or folder or digest of a keypoints stage.
    model
        Run folder or digest, checkpoint file, MLflow model URI, or shipped (the lifter of this package). Default:
        models:/pose-uplift@champion, or shipped if the registry has no champion.
    export
        Formats to write in addition to motion.npz.
    out
        Folder to write to. Default: lifted/NAME in the working directory.
    """
    context = Context(default_store(store), load_preset(preset, overrides))

    def show(result: StageResult, people: list[dict[str, object]]) -> None:
        show_stage(result)
        show_people(people, result.statistics["people"])
        show_page(stage_artifact(context.store, result.digest, VIEWER_FILE), "lifted", LIFTED_TEXT)

    outcome = lift_files(context, source, model or default_model(context.store), export or (), out, show)
    files, failed = outcome["files"], outcome["failed"]
    message = f"{sum(len(file['people']) for file in files)} people of {len(files)} file(s), by {outcome['model']}"
    not_lifted = f"; {len(failed)} not lifted: {some(list(failed))}" if failed else ""
    return Completed(message=f"{message}{not_lifted}", data=outcome)
