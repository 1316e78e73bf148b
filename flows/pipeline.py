"""The whole chain: motion -> clips -> windows -> pretraining -> fine-tuning -> evaluation -> `@challenger`."""

from typing import Any

from prefect import Flow, flow
from prefect.deployments import run_deployment

from data_contracts.parameters import SYNTHETIC_SOURCE, PipelineParameters
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store
from flows.convert import convert
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.ingest import ingest
from flows.prefect_ui.artifacts import show_scores
from flows.pretrain import pretrain
from tasks.pipeline import open_pipeline, register
from tasks.synthesise import CLIP_LIST_FILE, PICKLE_FILE, synthesise_motion


@flow(name="pipeline")
def pipeline(
    source: str = SYNTHETIC_SOURCE,
    clip_list: str | None = None,
    parameters: PipelineParameters = PipelineParameters(),
    store: str | None = None,
    train_on: str | None = None,
) -> dict[str, Any]:
    """Run every stage and register the fine-tuned model as `pose-uplift@challenger`.

    Parameters
    ----------
    source
        Path of an AMASS pickle, or `synthetic` for the embedded demo motion.
    clip_list
        Path of its `clip_list.csv`.
    store
        Root of the store; every worker must reach it.
    train_on
        Name of the deployments that pretrain, fine-tune and evaluate (`cuda`: `pretrain/cuda` and so on); none: here.

    Returns
    -------
    dict
        `stages` (every stage's result), `metrics` (model and baselines), `model` (name, version, URI), `folder`,
        `digest`.
    """
    root = default_store(store)
    stages: dict[str, StageResult] = {}
    if source == SYNTHETIC_SOURCE:
        motion = stages["synthesise"] = synthesise_motion(root, parameters.synthetic)
        source, clip_list = str(motion.path / PICKLE_FILE), str(motion.path / CLIP_LIST_FILE)
    with open_pipeline(root, source, clip_list, parameters) as tracked:
        common: dict[str, Any] = {"store": str(root), "parent_run": tracked.run_id}
        clips = stages["ingest"] = ingest(source, clip_list, parameters.ingest, **common)
        windows = stages["convert"] = convert(clips.folder, parameters.convert, parameters.workers, **common)
        common = common | {"windows": windows.folder, "runtime": parameters.runtime}
        pretrained = stages["pretrain"] = _run(pretrain, train_on, parameters=parameters.pretrain, **common)
        tuned = stages["finetune"] = _run(
            finetune, train_on, pretrained=pretrained.folder, parameters=parameters.finetune, **common
        )
        report = stages["evaluate"] = _run(
            evaluate, train_on, model=tuned.folder, parameters=parameters.evaluate, **common
        )
        version = register(tracked, tuned, windows, report, parameters.evaluate.flip)
    show_scores(report.statistics["metrics"], key="pipeline-scores")
    return {
        "stages": {name: result.model_dump() for name, result in stages.items()},
        "metrics": report.statistics["metrics"],
        "model": version,
        "folder": report.folder,
        "digest": report.digest,
        "cached": all(result.cached for result in stages.values()),
        "mlflow_run": tracked.run_id,
    }


def _run(stage: Flow, train_on: str | None, **parameters: Any) -> StageResult:
    """Run a stage here; or on the workers of its deployment, and then find it in the store."""
    if train_on:
        sent = {
            key: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            for key, value in parameters.items()
        }
        run: Any = run_deployment(f"{stage.name}/{train_on}", parameters=sent, poll_interval=2)
        if run.state is None or not run.state.is_completed():
            raise RuntimeError(f"{stage.name}/{train_on} ended {run.state}; see flow run {run.name}")
    return stage(**parameters)
