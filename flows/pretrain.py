"""Masked pretraining of the DSTformer."""

from prefect import flow

from data_contracts.parameters import PretrainParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store, resolve
from flows.prefect_ui.artifacts import show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.pretrain import pretrain_backbone


@flow(name="pretrain", flow_run_name=name_flow_run)
@described
def pretrain(
    windows: str,
    parameters: PretrainParameters = PretrainParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Pretrain a backbone on windows; a killed run goes on from its last checkpoint.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    runtime
        Where it runs.
    """
    root = default_store(store)
    result = pretrain_backbone(root, resolve(root, "windows", windows), parameters, runtime, parent_run)
    show_stage(result)
    return result
