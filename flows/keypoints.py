"""A detector's 2D keypoints -> tracks of people."""

from prefect import flow

from data_contracts.parameters import KeypointsParameters
from data_contracts.report import StageResult
from data_contracts.sources import find_keypoints
from data_contracts.store.folders import default_store
from flows.prefect_ui.artifacts import show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.keypoints import read_tracks


@flow(name="keypoints", flow_run_name=name_flow_run)
@described
def keypoints(
    source: str,
    parameters: KeypointsParameters = KeypointsParameters(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Read 2D keypoints of any detector, or find them in a video; tracks of H36M joints, in pixels.

    Parameters
    ----------
    source
        Path of a file, of a folder with a JSON for each frame, or of a video, as the worker sees it.
    store
        Root of the store; none: `UPLIFT_STORE`, or `./store`.
    parent_run
        MLflow run of the pipeline that this stage belongs to.
    """
    result = read_tracks(default_store(store), find_keypoints(source), parameters, parent_run)
    show_stage(result)
    return result
