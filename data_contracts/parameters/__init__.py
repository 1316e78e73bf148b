"""Parameters of every stage: pydantic models with bounds, so that a bad value is refused at the door.

Notable decisions:
- what changes a result stands in a stage's own model and so in its digest, as `Parameters.identity` gives it; where it
  runs stands in `Runtime` and does not;
- a parameter means the same on every machine: what a machine cannot compute (fp16 on a CPU) it refuses, so that the
  digest is known before anything is started, and wherever it is then computed;
- a preset (`data_contracts.presets`) is one YAML of `PipelineParameters`.
"""

from typing import Annotated

from pydantic import model_validator

from data_contracts.parameters.augmentation import AugmentationParameters, NewBodies, NewCameras
from data_contracts.parameters.base import NO_RESULT, Parameters, Share
from data_contracts.parameters.evaluation import BaselinesParameters, EvaluateParameters, PromoteParameters
from data_contracts.parameters.keypoints import KeypointFormat, KeypointsParameters, VideoDetector
from data_contracts.parameters.lift import ExportFormat, LiftParameters, OneEuroParameters, SmoothingParameters
from data_contracts.parameters.motion import (
    ALL,
    SYNTHETIC_SOURCE,
    ConvertParameters,
    GroupBy,
    IngestParameters,
    Layout,
    Projection,
    ShortClips,
    SplitBy,
    SyntheticParameters,
)
from data_contracts.parameters.network import DSTformerConfig, HeadKind
from data_contracts.parameters.runtime import Runtime, Workers
from data_contracts.parameters.training import (
    CorruptionParameters,
    DetectorNoise,
    FinetuneParameters,
    LossWeights,
    MLPParameters,
    Objective,
    PretrainParameters,
    TrainingParameters,
)

__all__ = [
    "ALL",
    "SYNTHETIC_SOURCE",
    "AugmentationParameters",
    "BaselinesParameters",
    "ConvertParameters",
    "CorruptionParameters",
    "DSTformerConfig",
    "DetectorNoise",
    "EvaluateParameters",
    "ExportFormat",
    "FinetuneParameters",
    "GroupBy",
    "HeadKind",
    "IngestParameters",
    "KeypointFormat",
    "KeypointsParameters",
    "Layout",
    "LiftParameters",
    "LossWeights",
    "MLPParameters",
    "NewBodies",
    "NewCameras",
    "Objective",
    "OneEuroParameters",
    "Parameters",
    "PipelineParameters",
    "PretrainParameters",
    "Projection",
    "PromoteParameters",
    "Runtime",
    "Share",
    "ShortClips",
    "SmoothingParameters",
    "SplitBy",
    "SyntheticParameters",
    "TrainingParameters",
    "VideoDetector",
    "Workers",
]


class PipelineParameters(Parameters):
    """Everything a pipeline run takes; a preset is one of these as YAML."""

    synthetic: SyntheticParameters = SyntheticParameters()
    ingest: IngestParameters = IngestParameters()
    convert: ConvertParameters = ConvertParameters()
    pretrain: PretrainParameters = PretrainParameters()
    finetune: FinetuneParameters = FinetuneParameters()
    baselines: BaselinesParameters = BaselinesParameters()
    evaluate: EvaluateParameters = EvaluateParameters()
    promote: PromoteParameters = PromoteParameters()
    keypoints: KeypointsParameters = KeypointsParameters()
    lift: LiftParameters = LiftParameters()
    workers: Annotated[Workers, NO_RESULT] = Workers()
    runtime: Annotated[Runtime, NO_RESULT] = Runtime()

    @model_validator(mode="after")
    def _head_fits_network(self) -> "PipelineParameters":
        if self.finetune.head is HeadKind.DEPTH and self.pretrain.network.geometry != "none":
            raise ValueError("finetune.head depth does not go with a network of geometry; pass joints or pose")
        return self

    def idle(self) -> set[str]:
        """What no stage of a pipeline run takes; the synthetic motion is told by its bytes, as any other."""
        return {"synthetic", "promote", "keypoints", "lift"}
