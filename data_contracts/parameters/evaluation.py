"""Parameters of evaluation and promotion."""

from typing import Annotated, Literal

from pydantic import Field

from data_contracts.parameters.base import NO_RESULT, Parameters, Precision
from data_contracts.parameters.training import MLPParameters


class BaselinesParameters(Parameters):
    """Baselines that are fitted on the training windows."""

    mlp: MLPParameters = MLPParameters()


class EvaluateParameters(Parameters):
    """Evaluation of a model and the baselines on one split."""

    split: Literal["val", "test"] = Field("test", description="Split whose windows are evaluated.")
    flip: bool = Field(True, description="Average the prediction with that of the mirrored input (flip averaging).")
    robustness_windows: int = Field(
        2000,
        ge=0,
        description="Windows that are also evaluated with noise, missing joints and detector skeletons; 0: none.",
    )
    real_video: Annotated[str | None, NO_RESULT] = Field(  # the digest has the contents of its files instead
        None,
        description="Folder of videos with marker truth, on the worker; an evaluation scores these videos too.",
    )
    batch_size: Annotated[int, NO_RESULT] = Field(256, ge=1, description="Windows per batch.")
    precision: Precision = "32-true"


class PromoteParameters(Parameters):
    """Rules by which the challenger replaces the champion."""

    benchmark: str | None = Field(
        None, description="Folder or digest of the windows for the comparison. Default: those of uplift benchmark set."
    )
    confidence: float = Field(0.93, gt=0.5, lt=1, description="Confidence of intervals; 0.93: 3.5 % beyond each end.")
    min_gain_mm: float = Field(0.0, ge=0, description="The whole interval of the MPJPE gain must be above this value.")
    one_person_gain_mm: float = Field(5.0, ge=0, description="Additional MPJPE gain required with a single subject.")
    max_regression_mm: float = Field(
        5.0,
        ge=0,
        description="A joint, action or subject is worse if the whole interval of its loss is above this value.",
    )
    max_pck_loss: float = Field(
        0.5, ge=0, description="PCK@150mm is worse if the whole interval of its loss, in points, is above this value."
    )
    max_noise_loss: float = Field(0.1, ge=0, description="Largest share by which the MPJPE under noise may increase.")
    allow_unknown_people: bool = Field(False, description="Also compare versions whose training subjects are unknown.")
