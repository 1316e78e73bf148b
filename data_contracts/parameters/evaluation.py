"""Parameters of evaluation and promotion."""

from typing import Annotated, Literal

from pydantic import Field

from data_contracts.parameters.base import NO_RESULT, Parameters
from data_contracts.parameters.training import MLPParameters


class BaselinesParameters(Parameters):
    """What a model must beat, fitted on its training windows; mean depth and linear have nothing to choose."""

    mlp: MLPParameters = MLPParameters()


class EvaluateParameters(Parameters):
    """Evaluation on one split, beside the baselines."""

    split: Literal["val", "test"] = Field("test", description="Whose windows are scored on.")
    flip: bool = Field(True, description="Mean with what the network makes of the mirror image (flip averaging).")
    robustness_windows: int = Field(
        2000, ge=0, description="Windows, evenly drawn, that are scored as detectors would show them; 0: none."
    )
    batch_size: Annotated[int, NO_RESULT] = Field(256, ge=1, description="Windows at once.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="16-mixed (fp16): on CUDA only, refused elsewhere."
    )


class PromoteParameters(Parameters):
    """When the challenger takes the champion's place."""

    benchmark: str | None = Field(
        None,
        description="Folder or digest of windows to meet on; none: those of `uplift benchmark set`, or else the windows"
        " that each was scored on.",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the bootstrap interval of the paired difference.")
    resamples: int = Field(5000, ge=100, description="Draws of people, from which an interval is told.")
    seed: int = Field(0, ge=0, description="Of the resampling.")
    min_gain_mm: float = Field(0.0, ge=0, description="The whole interval must show a gain above this.")
    one_person_gain_mm: float = Field(
        5.0, ge=0, description="Gain asked for beside it where a single person was tested: others may differ."
    )
    max_regression_mm: float = Field(5.0, ge=0, description="No joint, action or person may lose more than this.")
    min_windows: int = Field(50, ge=1, description="Of a joint, action or person, from which on its loss counts.")
    max_noise_loss_mm: float = Field(2.0, ge=0, description="Bound of what may be lost under a detector's noise.")
    allow_unknown_people: bool = Field(
        False, description="Compare where nobody knows all whom the two learned from, as with weights of others."
    )
