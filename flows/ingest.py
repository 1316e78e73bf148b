"""Motion file -> clip store."""

from pathlib import Path

from prefect import flow

from data_contracts.parameters import IngestParameters
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store
from flows.prefect_ui.artifacts import show_checks, show_stage
from tasks.ingest import ingest_clips


@flow(name="ingest")
def ingest(
    source: str,
    clip_list: str | None = None,
    parameters: IngestParameters = IngestParameters(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Read a motion file into the clip store, quarantining what breaks the clip contract.

    Parameters
    ----------
    source
        Path of a pickle, `.npz` or `.npy`, as the worker sees it.
    clip_list
        Path of its `clip_list.csv`; without one, and where the file names nobody, every clip is its own group.
    store
        Root of the store; none: `UPLIFT_STORE`, or `./store`.
    parent_run
        MLflow run of the pipeline that this stage belongs to.
    """
    result = ingest_clips(
        default_store(store), Path(source), Path(clip_list) if clip_list else None, parameters, parent_run
    )
    show_stage(result)
    show_checks(result)
    return result
