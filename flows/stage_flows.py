"""Prefect flows of the stages, made from the table in `flows.stages`. Deployments and pipelines run these flows."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from prefect import Flow

from data_contracts.parameters.presets import DEFAULT, load_preset
from data_contracts.store.folders import StageResult, default_store
from flows.prefect_ui.artifacts import PLAYING_TEXT, show_groups, show_page, show_scores, show_stage
from flows.prefect_ui.flow import uplift_flow
from flows.stages import STAGES, run_stage
from tasks.stage import Context, Inputs
from tasks.tracking.links import stage_artifact
from tasks.viewer.evaluation_viewer import VIEWER_FILE


def _run(
    stage: str,
    *,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    store: str | None = None,
    parent_run: str | None = None,
    digest: str | None = None,
    **inputs: Any,
) -> StageResult:
    context = Context(default_store(store), load_preset(preset, overrides), parent_run)
    result = run_stage(stage, context, expected=digest, **inputs)
    show_stage(result)
    if stage == "convert":
        show_groups(result)
    elif stage == "evaluate":
        show_scores(result.statistics["metrics"], key="scores")
        show_page(stage_artifact(context.store, result.digest, VIEWER_FILE), "playing", PLAYING_TEXT)
    return result


def _flow_of(name: str, resolve: Callable[..., Inputs]) -> Flow[..., StageResult]:
    """Return the flow of a stage: `flow(*inputs, preset=..., overrides=..., store=..., parent_run=..., digest=...)`."""
    _, *inputs = inspect.signature(resolve).parameters.values()
    shared = [one for one in inspect.signature(_run).parameters.values() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    signature = inspect.Signature([*inputs, *shared], return_annotation=StageResult)

    def run(*args: Any, **kwargs: Any) -> StageResult:
        return _run(name, **signature.bind(*args, **kwargs).arguments)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = inspect.getdoc(resolve)
    run.__signature__ = signature  # type: ignore[attr-defined]  # Prefect makes the form of a deployment from it
    return uplift_flow(run)


FLOWS = {name: _flow_of(name, row.resolve) for name, row in STAGES.items()}


def __getattr__(name: str) -> Flow[..., StageResult]:
    """Return the flow of a stage, e.g. `stage_flows.ingest`, as prefect.yaml names it."""
    if name not in FLOWS:
        raise AttributeError(name)
    return FLOWS[name]
