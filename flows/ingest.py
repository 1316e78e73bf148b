"""Motion files -> clip store."""

from prefect import flow

from data_contracts.parameters import IngestParameters
from data_contracts.report import StageResult
from data_contracts.sources import find_motion_files
from data_contracts.store.folders import default_store
from flows.prefect_ui.artifacts import show_checks, show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.ingest import ingest_clips


@flow(name="ingest", flow_run_name=name_flow_run)
@described
def ingest(
    source: str | list[str],
    clip_list: str | list[str] | None = None,
    parameters: IngestParameters = IngestParameters(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Read motion files into one clip store, quarantining what breaks the clip contract.

    Parameters
    ----------
    source
        Path of a pickle, `.npz` or `.npy`, or of a folder of them, as the worker sees it; or a list of such paths.
    clip_list
        Path of its `clip_list.csv`, or a list of one for each file in their order; none: that beside each file. Without
        one, and where the file names nobody, every clip is its own group.
    store
        Root of the store; none: `UPLIFT_STORE`, or `./store`.
    parent_run
        MLflow run of the pipeline that this stage belongs to.
    """
    result = ingest_clips(default_store(store), find_motion_files(source, clip_list), parameters, parent_run)
    show_stage(result)
    show_checks(result)
    return result
