"""Prefect flows of the stages, made from the table in `flows.stages`. Deployments and pipelines run these flows."""

import inspect
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import Flow, flow

from data_contracts.errors import InputError
from data_contracts.presets import DEFAULT, load_preset
from data_contracts.report import StageResult
from data_contracts.store.folders import default_store
from flows.prefect_ui.artifacts import PLAYING_TEXT, show_checks, show_groups, show_page, show_scores, show_stage
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from flows.stages import STAGES, Context, Stage
from tasks.tracking.links import stage_artifact
from tasks.viewer.evaluation_viewer import VIEWER_FILE


def _show_report(store: Path, result: StageResult) -> None:
    show_scores(result.statistics["metrics"], key="scores")
    show_page(stage_artifact(store, result.digest, VIEWER_FILE), "playing", PLAYING_TEXT)


_ARTIFACTS: dict[str, Callable[[Path, StageResult], None]] = {  # artifacts in addition to the table of every stage
    "ingest": lambda _, result: show_checks(result),
    "convert": lambda _, result: show_groups(result),
    "evaluate": _show_report,
}


def _shared(
    *,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    store: str | None = None,
    parent_run: str | None = None,
    digest: str | None = None,
) -> None:
    """Has the parameters that the flow of every stage takes in addition to the inputs of the stage."""


def _flow_of(stage: Stage) -> Flow[..., StageResult]:
    """Return the flow of a stage: `flow(*inputs, preset=..., overrides=..., store=..., parent_run=..., digest=...)`."""
    of_plan, of_all = (list(inspect.signature(one).parameters.values()) for one in (stage.plan, _shared))
    signature = inspect.Signature([*of_plan[1:], *of_all], return_annotation=StageResult)

    def run(*args: Any, **kwargs: Any) -> StageResult:
        inputs = signature.bind(*args, **kwargs)
        inputs.apply_defaults()
        return _run(stage, **inputs.arguments)

    run.__name__ = run.__qualname__ = stage.name
    run.__doc__ = inspect.getdoc(stage.plan)
    run.__signature__ = signature  # type: ignore[attr-defined]  # Prefect makes the form of a deployment from it
    return flow(name=stage.name, flow_run_name=name_flow_run)(described(run))


def _run(
    stage: Stage,
    preset: str,
    overrides: Sequence[str],
    store: str | None,
    parent_run: str | None,
    digest: str | None,
    **inputs: Any,
) -> StageResult:
    context = Context(default_store(store), load_preset(preset, overrides), parent_run)
    work = stage.plan(context, **inputs)
    if digest and digest != work.identity.digest:
        raise InputError(
            f"{stage.name}: the pipeline run expects digest {digest}, but the inputs and parameters have digest"
            f" {work.identity.digest} on {platform.node()}: an input was changed after the pipeline run began, or this"
            " process has another version of the project or of its presets; make them equal and run again"
        )
    result = work.compute()
    show_stage(result)
    if show := _ARTIFACTS.get(stage.name):
        show(context.store, result)
    return result


FLOWS = {name: _flow_of(stage) for name, stage in STAGES.items()}
ingest = FLOWS["ingest"]
convert = FLOWS["convert"]
pretrain = FLOWS["pretrain"]
finetune = FLOWS["finetune"]
baselines = FLOWS["baselines"]
evaluate = FLOWS["evaluate"]
keypoints = FLOWS["keypoints"]
