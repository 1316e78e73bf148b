"""Evaluation on held-out people."""

from prefect import flow

from data_contracts.parameters import EvaluateParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store, resolve
from flows.prefect_ui.artifacts import show_scores, show_stage
from tasks.evaluate import evaluate_lifter
from tasks.mlflow_runs.registry import fetch_checkpoint


@flow(name="evaluate")
def evaluate(
    windows: str,
    model: str,
    parameters: EvaluateParameters = EvaluateParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """Score a model beside the mean-depth and linear baselines on the same windows.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    model
        Run folder or digest, `.safetensors` file, or MLflow model URI such as `models:/pose-uplift@challenger`.
    """
    root = default_store(store)
    checkpoint = fetch_checkpoint(root, model)
    result = evaluate_lifter(root, resolve(root, "windows", windows), checkpoint, parameters, runtime, parent_run)
    show_stage(result)
    show_scores(result.statistics["metrics"], key="scores")
    return result
