"""The whole chain: motion -> clips -> windows -> pretraining -> fine-tuning -> evaluation -> promotion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.states import Completed

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE, PipelineParameters
from data_contracts.parameters.fresh import of_day
from data_contracts.report import StageResult
from data_contracts.sources import find_motion_files
from data_contracts.store import identities
from data_contracts.store.digests import Identity
from data_contracts.store.folders import CHECKPOINT_FILE, default_store
from flows.prefect_ui.artifacts import (
    DATA_TEXT,
    DURATIONS_TEXT,
    PLAYING_TEXT,
    show_night,
    show_page,
    show_scores,
    shown_if_it_fails,
)
from flows.prefect_ui.forms import described
from flows.stage_runs.day import day_of_run
from flows.stage_runs.deployed import must_be_deployed, send
from flows.stage_runs.dispatch import dispatch_stage
from flows.stage_runs.loading import load_flow
from flows.stage_runs.naming import name_flow_run
from tasks.mlflow_runs.links import run_artifact, run_page, run_picture, stage_artifact, version_page
from tasks.mlflow_runs.registry import LiftingModel
from tasks.pages.data_page import DATA_PAGE
from tasks.pages.playing import PLAYING_PAGE
from tasks.pipeline import open_pipeline, register, show_data, show_durations
from tasks.starting import champion_to_start_from
from tasks.synthesise import CLIP_LIST_FILE, PICKLE_FILE, synthesise_motion

Promotion = Literal["never", "gate", "approve"]
Start = Literal["nothing", "champion"]
ASKS_A_PERSON = "promote/cpu"  # the deployment that is sent a challenger to be approved


@flow(name="pipeline", flow_run_name=name_flow_run)
@described
def pipeline(
    source: str | list[str] = SYNTHETIC_SOURCE,
    clip_list: str | list[str] | None = None,
    parameters: PipelineParameters = PipelineParameters(),
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
        Path of an AMASS pickle or of a folder of them, a list of such paths, or `synthetic` for the embedded demo
        motion.
    clip_list
        Path of its `clip_list.csv`, or a list of one for each file in their order; none: that beside each file.
    store
        Root of the store; every worker must reach it.
    train_on
        Name of the deployments that train, fit and evaluate (`cuda`: `pretrain/cuda` and so on); none: here.
    promote
        `gate`: as `uplift promote`; `approve`: the same by a run of deployment `promote/cpu`, which waits for a person;
        `never`: the challenger waits for somebody to do so.
    fresh
        Train anew though nothing changed: seeds are the day of this run (UTC). The same day again is cached.
    start_from
        `champion`: fine-tune its weights as they are now; `nothing`: pretrain.

    Returns
    -------
    dict
        `stages` (every stage's result), `metrics` (model and baselines), `model` (name, version, URI), `folder`,
        `digest`, `promotion` (the decision; none where none was taken). The final state's message says what came of it.
    """
    stages: dict[str, StageResult] = {}
    with shown_if_it_fails(stages):
        root = default_store(store)
        if promote == "approve":
            must_be_deployed(ASKS_A_PERSON)
        day = day_of_run() if fresh else None
        parameters = of_day(parameters, day) if day else parameters
        start = champion_to_start_from(root, parameters.convert.window) if start_from == "champion" else None
        if source == SYNTHETIC_SOURCE:
            motion = stages["synthesise"] = synthesise_motion(root, parameters.synthetic)
            source, clip_list = str(motion.path / PICKLE_FILE), str(motion.path / CLIP_LIST_FILE)
        files = find_motion_files(source, clip_list)
        with open_pipeline(root, files, parameters, start, day) as tracked:

            def run(identity: Identity, deployment: str | None = None, **arguments: Any) -> StageResult:
                result = stages[identity.name] = dispatch_stage(root, identity, deployment, tracked.run_id, **arguments)
                return result

            clips = run(
                identities.ingest(files, parameters.ingest),
                source=source,
                clip_list=clip_list,
                parameters=parameters.ingest,
            )
            show_data(root, tracked, clips)
            show_page(run_artifact(root, tracked.run_id, DATA_PAGE), "pipeline-data", DATA_TEXT)
            windows = _convert(run, clips, parameters)
            tuned, report = _train_and_score(run, windows, parameters, train_on, start)
            flip, licence = parameters.evaluate.flip, parameters.ingest.licence
            version = register(root, tracked, tuned, windows, report, flip, licence)
            picture = show_durations(tracked, root, stages)
        playing = stage_artifact(root, report.digest, PLAYING_PAGE)
        _show_result(root, tracked.run_id, report, picture, playing)
        headline, decision = _promote(promote, root, version["version"], parameters)
    links = {
        "its run in MLflow": run_page(root, tracked.run_id),
        f"version {version['version']} of the model, with its card": version_page(root, version["version"]),
        PLAYING_TEXT: playing,
    }
    show_night(headline, stages, links)
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


def _show_result(root: Path, run_id: str, report: StageResult, picture: str, playing: str | None) -> None:
    """Scores, the playing page, and how long the last nights took; there before the challenger is judged."""
    shown = run_picture(root, run_id, picture)
    show_page(run_artifact(root, run_id, picture), "pipeline-durations", DURATIONS_TEXT, shown)
    show_scores(report.statistics["metrics"], key="pipeline-scores")
    show_page(playing, "pipeline-playing", PLAYING_TEXT)


def _promote(
    how: Promotion, root: Path, version: int, parameters: PipelineParameters
) -> tuple[str, dict[str, Any] | None]:
    """What came of the challenger, in a line; and the decision, where one was taken here."""
    given: dict[str, Any] = {
        "parameters": parameters.promote,
        "evaluation": parameters.evaluate,
        "runtime": parameters.runtime,
        "store": str(root),
        "fit": parameters.baselines,
        "version": version,
    }
    if how == "never":
        return f"registered: version {version} is the challenger", None
    if how == "approve":
        sent = send(ASKS_A_PERSON, given | {"require_approval": True})
        return f"not decided: version {version} is judged by {ASKS_A_PERSON}, flow run {sent.name}", None
    decision = load_flow("promote")(**given)
    return decision["headline"], decision


def _train_and_score(
    run: Callable[..., StageResult],
    windows: StageResult,
    parameters: PipelineParameters,
    train_on: str | None,
    start: LiftingModel | None,
) -> tuple[StageResult, StageResult]:
    """The fine-tuned model, and the report that sets it beside the baselines; where it says so, on other workers."""
    trained: dict[str, Any] = {"windows": windows.folder, "runtime": parameters.runtime}
    if start:
        weights, reference = start.checkpoint, start.uri  # other workers fetch it from the registry themselves
    else:
        pretrained = run(
            identities.pretrain(windows.path, parameters.pretrain),
            train_on,
            parameters=parameters.pretrain,
            **trained,
        )
        weights, reference = pretrained.path / CHECKPOINT_FILE, pretrained.folder
    tuned = run(
        identities.finetune(windows.path, weights, parameters.finetune),
        train_on,
        pretrained=reference,
        parameters=parameters.finetune,
        **trained,
    )
    rivals = run(
        identities.baselines(windows.path, parameters.baselines),
        train_on,
        parameters=parameters.baselines,
        **trained,
    )
    report = run(
        identities.evaluate(windows.path, tuned.path / CHECKPOINT_FILE, rivals.digest, parameters.evaluate),
        train_on,
        model=tuned.folder,
        baselines=rivals.folder,
        parameters=parameters.evaluate,
        **trained,
    )
    return tuned, report


def _convert(run: Callable[..., StageResult], clips: StageResult, parameters: PipelineParameters) -> StageResult:
    """The windows, which have some to score the model on."""
    windows = run(
        identities.convert(clips.path, parameters.convert),
        clips=clips.folder,
        parameters=parameters.convert,
        workers=parameters.workers,
    )
    _must_hold(windows, parameters.evaluate.split)
    return windows


def _must_hold(windows: StageResult, split: str) -> None:
    """Refuses, before hours of training, windows without the split that the model is to be scored on."""
    if not windows.counts["windows"][split]:
        raise InputError(
            f"{windows.folder} has no windows in split {split}, on which the pipeline scores its model; pass --set"
            f" convert.{split}_share=... above 0 (or name convert.{split}_groups), or another evaluate.split"
        )
