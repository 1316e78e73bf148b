"""Parameters of every stage: pydantic models with bounds, so that a bad value is refused at the door.

Notable decisions:
- what changes a result stands in a stage's own model and so in its digest; where it runs stands in
  `Runtime` and does not;
- a preset (`data_contracts.presets`) is one YAML of `PipelineParameters`.
"""

from data_contracts.parameters.base import Parameters, Share
from data_contracts.parameters.evaluation import EvaluateParameters, PromoteParameters
from data_contracts.parameters.motion import (
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
    Objective,
    PretrainParameters,
    TrainingParameters,
)

__all__ = [
    "SYNTHETIC_SOURCE",
    "ConvertParameters",
    "CorruptionParameters",
    "DSTformerConfig",
    "DetectorNoise",
    "EvaluateParameters",
    "FinetuneParameters",
    "GroupBy",
    "HeadKind",
    "IngestParameters",
    "Layout",
    "LossWeights",
    "Objective",
    "Parameters",
    "PipelineParameters",
    "PretrainParameters",
    "Projection",
    "PromoteParameters",
    "Runtime",
    "Share",
    "ShortClips",
    "SplitBy",
    "SyntheticParameters",
    "TrainingParameters",
    "Workers",
]


class PipelineParameters(Parameters):
    """Everything a pipeline run takes; a preset is one of these as YAML."""

    synthetic: SyntheticParameters = SyntheticParameters()
    ingest: IngestParameters = IngestParameters()
    convert: ConvertParameters = ConvertParameters()
    pretrain: PretrainParameters = PretrainParameters()
    finetune: FinetuneParameters = FinetuneParameters()
    evaluate: EvaluateParameters = EvaluateParameters()
    promote: PromoteParameters = PromoteParameters()
    workers: Workers = Workers()
    runtime: Runtime = Runtime()
