"""Fine-tuning from a pretrained backbone."""

from prefect import flow

from data_contracts.parameters import FinetuneParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store, resolve
from flows.prefect_ui.artifacts import show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.finetune import finetune_lifter
from tasks.mlflow_runs.registry import fetch_checkpoint


@flow(name="finetune", flow_run_name=name_flow_run)
@described
def finetune(
    windows: str,
    pretrained: str,
    parameters: FinetuneParameters = FinetuneParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Fine-tune a pretrained run to lift the windows' poses.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    pretrained
        Run folder or digest, `.safetensors` file, or MLflow model URI.
    """
    root = default_store(store)
    checkpoint = fetch_checkpoint(root, pretrained)
    result = finetune_lifter(root, resolve(root, "windows", windows), checkpoint, parameters, runtime, parent_run)
    show_stage(result)
    return result
