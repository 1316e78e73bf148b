"""Evaluation on held-out people."""

from prefect import flow

from data_contracts.parameters import BaselinesParameters, EvaluateParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store, resolve
from data_contracts.store.lineage import are_baselines, baselines_source
from flows.baselines import baselines as fit_baselines
from flows.prefect_ui.artifacts import PLAYING_TEXT, show_page, show_scores, show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.evaluate import evaluate_lifter
from tasks.mlflow_runs.links import stage_artifact
from tasks.mlflow_runs.registry import fetch_checkpoint
from tasks.pages.playing import PLAYING_PAGE


@flow(name="evaluate", flow_run_name=name_flow_run)
@described
def evaluate(
    windows: str,
    model: str,
    parameters: EvaluateParameters = EvaluateParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
    parent_run: str | None = None,
    baselines: str | None = None,
    fit: BaselinesParameters = BaselinesParameters(),
) -> StageResult:
    """Score a model beside the baselines on the same windows.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage.
    model
        Run folder or digest, `.safetensors` file, or MLflow model URI such as `models:/pose-uplift@challenger`.
    baselines
        Folder or digest of a baselines stage, or of the windows to fit them on; none: `windows` if they have a training
        split, else those that the model was trained on.
    fit
        How baselines are fitted, where the store does not have them.
    """
    root = default_store(store)
    checkpoint, folder = fetch_checkpoint(root, model), resolve(root, "windows", windows)
    source = baselines_source(root, folder, checkpoint, baselines)
    if not are_baselines(source):
        source = fit_baselines(str(source), fit, runtime, str(root), parent_run).path
    result = evaluate_lifter(root, folder, checkpoint, source, parameters, runtime, parent_run)
    show_stage(result)
    show_scores(result.statistics["metrics"], key="scores")
    show_page(stage_artifact(root, result.digest, PLAYING_PAGE), "playing", PLAYING_TEXT)
    return result
