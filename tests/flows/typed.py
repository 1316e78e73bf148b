"""Flows called with parameter models, which are sent as a preset and overrides. Other parameters: preset `demo`."""

from pathlib import Path
from typing import Any

from data_contracts.parameters import (
    BaselinesParameters,
    ConvertParameters,
    EvaluateParameters,
    FinetuneParameters,
    IngestParameters,
    KeypointsParameters,
    LiftParameters,
    Parameters,
    PipelineParameters,
    PretrainParameters,
    PromoteParameters,
    Runtime,
    Workers,
)
from data_contracts.parameters.presets import DEFAULT, load_preset, preset_and_overrides
from data_contracts.store.folders import StageResult
from flows import lift as lifting
from flows import pipeline as pipelines
from flows import promote as promotion
from flows import stage_flows


def sent(**parts: Parameters | None) -> dict[str, Any]:
    """Return `preset` and `overrides` of the demo preset with these parts of the parameters replaced."""
    replaced = {name: part for name, part in parts.items() if part is not None}
    return preset_and_overrides(load_preset(DEFAULT).model_copy(update=replaced))


def pipeline(parameters: PipelineParameters, **options: Any) -> Any:
    return pipelines.pipeline(**preset_and_overrides(parameters), **options)


def ingest(
    source: str | list[str],
    clip_list: str | list[str] | None = None,
    parameters: IngestParameters | None = None,
    store: str | None = None,
) -> StageResult:
    return stage_flows.ingest(source, clip_list, store=store, **sent(ingest=parameters))


def convert(
    clips: str | Path,
    parameters: ConvertParameters | None = None,
    workers: Workers | None = None,
    store: str | None = None,
) -> StageResult:
    return stage_flows.convert(str(clips), store=store, **sent(convert=parameters, workers=workers))


def pretrain(
    windows: str,
    parameters: PretrainParameters | None = None,
    runtime: Runtime | None = None,
    store: str | None = None,
) -> StageResult:
    return stage_flows.pretrain(windows, store=store, **sent(pretrain=parameters, runtime=runtime))


def finetune(
    windows: str, pretrained: str, parameters: FinetuneParameters | None = None, store: str | None = None
) -> StageResult:
    return stage_flows.finetune(windows, pretrained, store=store, **sent(finetune=parameters))


def baselines(windows: str, parameters: BaselinesParameters | None = None, store: str | None = None) -> StageResult:
    return stage_flows.baselines(windows, store=store, **sent(baselines=parameters))


def evaluate(
    windows: str,
    model: str,
    parameters: EvaluateParameters | None = None,
    store: str | None = None,
    baselines: str | None = None,
    fit: BaselinesParameters | None = None,
) -> StageResult:
    return stage_flows.evaluate(windows, model, baselines, store=store, **sent(evaluate=parameters, baselines=fit))


def keypoints(source: str, parameters: KeypointsParameters | None = None, store: str | None = None) -> StageResult:
    return stage_flows.keypoints(source, store=store, **sent(keypoints=parameters))


def lift(source: str, *arguments: Any, parameters: LiftParameters | None = None, **options: Any) -> Any:
    return lifting.lift(source, *arguments, **options, **sent(lift=parameters))


def promote(
    parameters: PromoteParameters | None = None,
    evaluation: EvaluateParameters | None = None,
    fit: BaselinesParameters | None = None,
    **options: Any,
) -> Any:
    return promotion.promote(**options, **sent(promote=parameters, evaluate=evaluation, baselines=fit))
