"""Prefect flow of all stages: ingest, convert, pretrain, finetune, baselines, evaluate, register and promote."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date
from typing import Any, Literal

from prefect.runtime import flow_run
from prefect.states import Completed

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_FILE, SYNTHETIC_SOURCE
from data_contracts.parameters.presets import DEFAULT, load_preset, preset_and_overrides
from data_contracts.store.folders import StageResult, default_store
from data_contracts.store.run_names import preset_name
from flows.dispatch import dispatch_stage, must_be_deployed, send
from flows.prefect_ui.artifacts import (
    DURATIONS_TEXT,
    PLAYING_TEXT,
    pipeline_summary,
    show_page,
    show_pipeline_run,
    show_scores,
)
from flows.prefect_ui.flow import uplift_flow
from flows.stages import find_files
from tasks.pipeline import model_to_start_from, open_pipeline, register, show_durations
from tasks.stage import Context, get_or_compute
from tasks.synthetic.motion import CLIP_LIST_FILE, SYNTHESISE
from tasks.tracking.links import run_artifact, run_figure, run_page, runs_page, stage_artifact, version_page
from tasks.viewer.evaluation_viewer import VIEWER_FILE

Promotion = Literal["never", "gate", "approve"]
Start = Literal["nothing", "champion", "shipped"]
Training = Literal["here", "workers"]
APPROVAL_DEPLOYMENT = "promote/promote-challenger"  # its run waits for the approval of a person


@uplift_flow
def pipeline(
    source: str | list[str] = SYNTHETIC_SOURCE,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    promote: Promotion = "never",
    start_from: Start = "nothing",
    fresh: bool = False,
    train_on: Training = "here",
    clip_list: str | list[str] | None = None,
    store: str | None = None,
) -> Any:
    """Run every stage, register the fine-tuned model as `pose-uplift@challenger`, and apply the rule `promote` to it.

    Parameters
    ----------
    source
        Path of a motion file (pickle, .npz, .npy, BVH, C3D, TRC), or of a folder with such files; or several paths; or
        "synthetic" for the embedded demo motion. Paths are paths on the worker.
    store
        Root of the store, which every worker must reach by the same path. Default: UPLIFT_STORE, or ./store.
    train_on
        Place to train and evaluate. here: this process; workers: the deployments of the pool cuda.
    promote
        Promotion of the new version. gate: promote it if it is better; approve: a run of
        promote/promote-challenger also waits for a person's approval; never: leave it as the challenger.
    fresh
        Train again although nothing changed, with the day of this run (UTC) as seed. A second run on that day is
        cached.
    start_from
        Weights to fine-tune. champion: those of the current champion; shipped: those of this package; nothing:
        pretrain a new network.
    """
    stages: dict[str, StageResult] = {}
    with pipeline_summary(stages) as summary:
        if promote == "approve":
            must_be_deployed(APPROVAL_DEPLOYMENT)
        parameters, day = load_preset(preset, overrides), day_of_run() if fresh else None
        if day:  # the stages of each day are new; a run that is repeated on the same day finds them
            parameters = parameters.with_seed(int(f"{day:%Y%m%d}"))
        context = Context(default_store(store), parameters)
        name = preset_name(preset, overrides)
        outcome = _run_stages(context, stages, source, clip_list, name, train_on, start_from, day)
        version = outcome["model"]["version"]
        headline, decision = _promote(promote, context, version)
    run = run_page(context.store, outcome["mlflow_run"])
    links = {
        "run in MLflow": run,
        "all pipeline runs in MLflow": run and runs_page(context.store),
        f"version {version} of the model, with its model card": version_page(context.store, version),
        PLAYING_TEXT: stage_artifact(context.store, outcome["digest"], VIEWER_FILE),
    }
    show_pipeline_run(summary, headline, stages, links)
    return Completed(message=headline, data=outcome | {"promotion": decision})


def day_of_run() -> date:
    """Return the day (UTC) for which the run was scheduled, also after a late start or a retry."""
    day: date = flow_run.scheduled_start_time.astimezone(UTC).date()
    return day


def _run_stages(
    context: Context,
    stages: dict[str, StageResult],
    source: str | list[str],
    clip_list: str | list[str] | None,
    preset: str,
    train_on: Training,
    start_from: Start,
    day: date | None,
) -> dict[str, Any]:
    """Compute all stages, add the results to `stages`, register the model; return the outcome before promotion."""
    root, parameters = context.store, context.parameters
    start = None if start_from == "nothing" else model_to_start_from(root, start_from, parameters.convert.window)
    if source == SYNTHETIC_SOURCE:
        motion = stages["synthesise"] = get_or_compute(SYNTHESISE, {}, replace(context, tracked=False))
        source, clip_list = str(motion.path / SYNTHETIC_FILE), str(motion.path / CLIP_LIST_FILE)
    files = find_files(parameters.ingest, source, clip_list)
    with open_pipeline(root, source, files, parameters, preset, start, day) as tracked:
        context = replace(context, parent_run=tracked.run_id)

        def run(name: str, on_workers: bool = False, **inputs: Any) -> StageResult:
            result = stages[name] = dispatch_stage(name, context, on_workers, **inputs)
            return result

        trains = train_on == "workers"

        clips = run("ingest", source=source, clip_list=clip_list)
        windows = run("convert", clips=clips.folder)
        _require_split(windows, parameters.evaluate.split)
        pretrained = start.uri if start else run("pretrain", trains, windows=windows.folder).folder
        tuned = run("finetune", trains, windows=windows.folder, pretrained=pretrained)
        fitted = run("baselines", trains, windows=windows.folder)
        report = run("evaluate", trains, windows=windows.folder, model=tuned.folder, baselines=fitted.folder)
        version = register(root, tracked, stages, parameters)
        durations = show_durations(root, tracked, stages)
    figure = run_figure(root, tracked.run_id, durations)
    show_page(run_artifact(root, tracked.run_id, durations), "pipeline-durations", DURATIONS_TEXT, figure)
    show_scores(report.statistics["metrics"], key="pipeline-scores")
    show_page(stage_artifact(root, report.digest, VIEWER_FILE), "pipeline-playing", PLAYING_TEXT)
    return {
        "stages": {name: result.model_dump() for name, result in stages.items()},
        "metrics": report.statistics["metrics"],
        "model": version,
        "folder": report.folder,
        "digest": report.digest,
        "cached": all(result.cached for result in stages.values()),
        "mlflow_run": tracked.run_id,
    }


def _promote(how: Promotion, context: Context, version: int) -> tuple[str, dict[str, Any] | None]:
    """Return a line about the promotion of the challenger, and the decision, or None if this run does not decide."""
    if how == "never":
        return f"registered: version {version} is the challenger", None
    arguments = {"version": version, "store": str(context.store), **preset_and_overrides(context.parameters)}
    if how == "approve":
        run = send(APPROVAL_DEPLOYMENT, arguments | {"require_approval": True})
        return f"not decided: version {version} is judged by {APPROVAL_DEPLOYMENT}, flow run {run.name}", None
    from flows.promote import promote  # a run without promotion does not need these imports

    decision = promote(**arguments)
    return decision["headline"], decision


def _require_split(windows: StageResult, split: str) -> None:
    """Raise an InputError before training if the windows have no split for the evaluation."""
    if not windows.counts["windows"][split]:
        raise InputError(
            f"{windows.folder} has no windows in split {split} (evaluate.split); pass --set"
            f" convert.{split}_share=... above 0, --set convert.{split}_groups=[...], or another evaluate.split"
        )
