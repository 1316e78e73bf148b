"""Prefect flow of all stages: ingest, convert, pretrain, finetune, baselines, evaluate, register and promote."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.states import Completed

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE, PipelineParameters
from data_contracts.presets import DEFAULT, load_preset, preset_and_overrides
from data_contracts.report import StageResult
from data_contracts.sources import find_motion_files
from data_contracts.store.folders import default_store
from flows.prefect_ui.artifacts import (
    DATA_TEXT,
    DURATIONS_TEXT,
    PLAYING_TEXT,
    failure_summary,
    show_page,
    show_pipeline_run,
    show_scores,
)
from flows.prefect_ui.forms import described
from flows.stage_runs.day import day_of_run
from flows.stage_runs.deployed import must_be_deployed, send
from flows.stage_runs.dispatch import dispatch_stage
from flows.stage_runs.naming import name_flow_run
from flows.stages import Context
from tasks.pipeline import open_pipeline, register, show_data, show_durations
from tasks.synthetic.motion import CLIP_LIST_FILE, PICKLE_FILE
from tasks.synthetic.synthesise import synthesise_motion
from tasks.tracking.links import run_artifact, run_figure, run_page, stage_artifact, version_page
from tasks.tracking.models import LiftingModel
from tasks.train.starting import champion_to_start_from
from tasks.viewer.data_page import DATA_PAGE
from tasks.viewer.evaluation_viewer import VIEWER_FILE

Promotion = Literal["never", "gate", "approve"]
Start = Literal["nothing", "champion"]
APPROVAL_DEPLOYMENT = "promote/cpu"  # its run waits for the approval of a person


@flow(name="pipeline", flow_run_name=name_flow_run)
@described
def pipeline(
    source: str | list[str] = SYNTHETIC_SOURCE,
    clip_list: str | list[str] | None = None,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    store: str | None = None,
    train_on: str | None = None,
    promote: Promotion = "never",
    fresh: bool = False,
    start_from: Start = "nothing",
) -> Any:
    """Run every stage, register the fine-tuned model as `pose-uplift@challenger`, and promote it if it is better.

    Parameters
    ----------
    source
        Path of an AMASS pickle, an .npz or an .npy file, or of a folder with such files; or several paths; or
        "synthetic" for the embedded demo motion. Paths are those of the worker.
    clip_list
        CSV with clip metadata (subject, action, fps), one per motion file in the same order. Default: FILE.csv or
        clip_list.csv next to the motion file.
    store
        Root of the store, which every worker must reach by the same path. Default: UPLIFT_STORE, or ./store.
    train_on
        Name of the deployments that train, fit and evaluate, e.g. cuda for pretrain/cuda, finetune/cuda and so on.
        Default: this process.
    promote
        Promotion of the new version. gate: promote it if it is better; approve: a run of promote/cpu also waits for a
        person's approval; never: leave it as the challenger.
    fresh
        Train again although nothing changed, with the day of this run (UTC) as seed. A second run on that day is
        cached.
    start_from
        Weights to fine-tune. champion: the weights of the current champion; nothing: pretrain a new network.

    Returns
    -------
    dict
        `stages` (result of each stage), `metrics` (of the model and the baselines), `model` (name, version, URI),
        `folder` and `digest` of the report, `cached`, `mlflow_run`, and `promotion` (the decision, or None).
    """
    stages: dict[str, StageResult] = {}
    with failure_summary(stages):
        root, parameters = default_store(store), load_preset(preset, overrides)
        if promote == "approve":
            must_be_deployed(APPROVAL_DEPLOYMENT)
        day = day_of_run() if fresh else None
        parameters = parameters.with_seed(int(f"{day:%Y%m%d}")) if day else parameters
        start = champion_to_start_from(root, parameters.convert.window) if start_from == "champion" else None
        if source == SYNTHETIC_SOURCE:
            motion = stages["synthesise"] = synthesise_motion(root, parameters.synthetic)
            source, clip_list = str(motion.path / PICKLE_FILE), str(motion.path / CLIP_LIST_FILE)
        files = find_motion_files(source, clip_list)
        with open_pipeline(root, files, parameters, start, day) as tracked:
            context = Context(root, parameters, tracked.run_id)

            def run(name: str, deployment: str | None = None, **inputs: Any) -> StageResult:
                result = stages[name] = dispatch_stage(name, context, deployment, **inputs)
                return result

            clips = run("ingest", source=source, clip_list=clip_list)
            show_data(root, tracked, clips)
            show_page(run_artifact(root, tracked.run_id, DATA_PAGE), "pipeline-data", DATA_TEXT)
            windows = run("convert", clips=clips.folder)
            _require_split(windows, parameters.evaluate.split)
            tuned, report = _train_and_score(run, windows.folder, train_on, start)
            flip, licence = parameters.evaluate.flip, parameters.ingest.licence
            version = register(root, tracked, tuned, windows, report, flip, licence)
            durations = show_durations(tracked, root, stages)
        viewer = stage_artifact(root, report.digest, VIEWER_FILE)
        _show_result(root, tracked.run_id, report, durations, viewer)
        headline, decision = _promote(promote, root, version["version"], parameters)
    links = {
        "run in MLflow": run_page(root, tracked.run_id),
        f"version {version['version']} of the model, with its model card": version_page(root, version["version"]),
        PLAYING_TEXT: viewer,
    }
    show_pipeline_run(headline, stages, links)
    outcome = {
        "stages": {name: result.model_dump() for name, result in stages.items()},
        "metrics": report.statistics["metrics"],
        "model": version,
        "folder": report.folder,
        "digest": report.digest,
        "cached": all(result.cached for result in stages.values()),
        "mlflow_run": tracked.run_id,
        "promotion": decision,
    }
    return Completed(message=headline, data=outcome)


def _show_result(root: Path, run_id: str, report: StageResult, durations: str, viewer: str | None) -> None:
    """Show the scores, the viewer and the durations of the last pipeline runs, before the challenger is judged."""
    figure = run_figure(root, run_id, durations)
    show_page(run_artifact(root, run_id, durations), "pipeline-durations", DURATIONS_TEXT, figure)
    show_scores(report.statistics["metrics"], key="pipeline-scores")
    show_page(viewer, "pipeline-playing", PLAYING_TEXT)


def _promote(
    how: Promotion, root: Path, version: int, parameters: PipelineParameters
) -> tuple[str, dict[str, Any] | None]:
    """Return a line about the promotion of the challenger, and the decision if this run took it."""
    if how == "never":
        return f"registered: version {version} is the challenger", None
    arguments = {"version": version, "store": str(root), **preset_and_overrides(parameters)}
    if how == "approve":
        run = send(APPROVAL_DEPLOYMENT, arguments | {"require_approval": True})
        return f"not decided: version {version} is judged by {APPROVAL_DEPLOYMENT}, flow run {run.name}", None
    from flows.promote import promote  # a run without promotion does not need these imports

    decision = promote(**arguments)
    return decision["headline"], decision


def _train_and_score(
    run: Callable[..., StageResult], windows: str, train_on: str | None, start: LiftingModel | None
) -> tuple[StageResult, StageResult]:
    """Return the fine-tuned model and its report; `train_on` names the deployments that compute both."""
    pretrained = start.uri if start else run("pretrain", train_on, windows=windows).folder
    tuned = run("finetune", train_on, windows=windows, pretrained=pretrained)
    fitted = run("baselines", train_on, windows=windows)
    report = run("evaluate", train_on, windows=windows, model=tuned.folder, baselines=fitted.folder)
    return tuned, report


def _require_split(windows: StageResult, split: str) -> None:
    """Refuse windows without the split of the evaluation, before hours of training."""
    if not windows.counts["windows"][split]:
        raise InputError(
            f"{windows.folder} has no windows in split {split}, which evaluate.split names; pass --set"
            f" convert.{split}_share=... above 0, name convert.{split}_groups, or choose another evaluate.split"
        )
