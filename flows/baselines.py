"""What a model must beat."""

from prefect import flow

from data_contracts.parameters import BaselinesParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store, resolve
from flows.prefect_ui.artifacts import show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.baselines import fit_baselines


@flow(name="baselines", flow_run_name=name_flow_run)
@described
def baselines(
    windows: str,
    parameters: BaselinesParameters = BaselinesParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Fit mean depth, linear and mlp on windows, for every model that is scored beside them.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    """
    root = default_store(store)
    result = fit_baselines(root, resolve(root, "windows", windows), parameters, runtime, parent_run)
    show_stage(result)
    return result
