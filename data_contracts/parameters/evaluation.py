"""Parameters of evaluation and promotion."""

from typing import Literal

from pydantic import Field

from data_contracts.parameters.base import Parameters


class EvaluateParameters(Parameters):
    """Evaluation on one split, beside the baselines."""

    split: Literal["val", "test"] = "test"
    flip: bool = Field(True, description="Mean with what the network makes of the mirror image (flip averaging).")
    batch_size: int = Field(256, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class PromoteParameters(Parameters):
    """When the challenger takes the champion's place."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the bootstrap interval of the paired difference.")
    resamples: int = Field(2000, ge=100)
    seed: int = Field(0, ge=0)
