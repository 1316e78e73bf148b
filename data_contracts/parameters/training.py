"""Parameters of pretraining and fine-tuning: what is learned, from what input, by which loss and schedule."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.parameters.base import Parameters, Share
from data_contracts.parameters.network import DSTformerConfig, HeadKind
from data_contracts.skeleton import NUM_JOINTS

_TRUNK_AND_LEGS_STD = (0.010, 0.015, 0.020, 0.028, 0.015, 0.020, 0.028, 0.012, 0.012)
_HEAD_AND_ARMS_STD = (0.014, 0.014, 0.015, 0.022, 0.030, 0.015, 0.022, 0.030)


class Objective(StrEnum):
    """What pretraining asks for, given the corrupted 2D: the clean 2D, or the 3D."""

    RECONSTRUCT = "reconstruct"
    LIFT = "lift"


class DetectorNoise(Parameters):
    """How a 2D detector errs (MotionBERT's synthetic 2D, lib/data/augmentation.py), in normalised units.

    MotionBERT's own figures are tensors learned from a detector, not numbers in print; these are of the size that
    detectors show: some hundredths of half the figure, least at the trunk and most at wrists and ankles.
    """

    std: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (*_TRUNK_AND_LEGS_STD, *_HEAD_AND_ARMS_STD),
        description="Standard deviation of x and y: one for all joints, or one for each of the 17.",
    )
    outlier_share: Share = Field(0.03, description="Joints of a key frame that are drawn from the uniform instead.")
    outlier_range: float = Field(0.3, ge=0, description="Width of that uniform distribution.")
    key_frames: int = Field(27, ge=1, description="Errors are drawn at so many frames and interpolated between them.")
    jitter_std: float = Field(0.002, ge=0, description="Noise of each frame on top.")
    confidence_a: float = Field(
        0.05, gt=0, description="Confidence at displacement d: a / (d + a) + b d + N(mean, std)."
    )
    confidence_b: float = 0.0
    confidence_mean: float = 0.0
    confidence_std: float = Field(0.05, ge=0)

    @field_validator("std")
    @classmethod
    def _one_or_all(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if len(std) not in (1, NUM_JOINTS):
            raise ValueError(f"{len(std)} standard deviations; pass one, or one for each of the {NUM_JOINTS} joints")
        return std


class CorruptionParameters(Parameters):
    """What is done to the 2D input before the network sees it. Units are the window's normalised units."""

    frame_share: Share = Field(0.0, description="Share of frames whose joints are all replaced.")
    joint_share: Share = Field(0.0, description="Share of single joints replaced.")
    fill: Literal["normal", "zero", "token"] = Field(
        "normal", description="Replaced by N(0,1), by 0 with confidence 0, or by a token that is learned."
    )
    noise: DetectorNoise | None = Field(None, description="Detector noise; none: the true 2D with confidence 1.")


class LossWeights(Parameters):
    """Weights of the loss terms (MotionBERT, section 4.2); a term with weight 0 is not computed."""

    mpjpe: float = Field(1.0, ge=0)
    n_mpjpe: float = Field(0.0, ge=0)
    velocity: float = Field(0.0, ge=0)
    pose_2d: float = Field(1.0, ge=0, description="Of windows whose 2D alone is used: distance in the image.")

    @model_validator(mode="after")
    def _some_term_counts(self) -> "LossWeights":
        if self.mpjpe + self.n_mpjpe + self.velocity == 0:
            raise ValueError("every loss weight is 0: nothing would be learned")
        return self


class TrainingParameters(Parameters):
    """The training loop, common to pretraining and fine-tuning."""

    batch_size: int = Field(64, ge=1, description="Windows per micro-batch.")
    auto_batch: bool = Field(False, description="On CUDA: grow the micro-batch to the largest that fits.")
    accumulate: int = Field(1, ge=1, description="Micro-batches per optimiser step.")
    max_epochs: int = Field(10, ge=1)
    patience: int = Field(10, ge=1, description="Epochs without a better validation score before stopping.")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    norm_learning_rate: float | None = Field(None, gt=0, le=1, description="For the last LayerNorm; none: the same.")
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    decay: float = Field(0.99, gt=0, le=1, description="Factor per epoch of the exponential schedule.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    loss: LossWeights = LossWeights()
    loss_on: Literal["all", "masked"] = Field("all", description="Joints that count: all, or those that were replaced.")
    focal_gamma: float = Field(0.0, ge=0, description="Focal weight of a joint's error; 0 turns it off.")
    corruption: CorruptionParameters = CorruptionParameters()
    flip: bool = Field(False, description="Mirror half of the windows.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    gradient_checkpointing: bool = False
    checkpoint_every: int | None = Field(None, ge=1, description="Keep a checkpoint every so many epochs.")
    keep_top: int = Field(3, ge=1, le=100, description="Best checkpoints kept.")
    epochs_3d: int = Field(
        0, ge=0, description="Epochs on 3D windows alone, before windows whose 2D alone is used join them, if given."
    )
    max_bad_steps: int = Field(20, ge=1, description="Steps in a row that are not finite, after which training stops.")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _something_is_masked(self) -> "TrainingParameters":
        if self.loss_on == "masked" and not (self.corruption.frame_share or self.corruption.joint_share):
            raise ValueError("loss_on masked needs a corruption.frame_share or joint_share above 0")
        return self


class PretrainParameters(TrainingParameters):
    """Masked pretraining of the whole network."""

    objective: Objective = Objective.LIFT
    network: DSTformerConfig = DSTformerConfig()

    @model_validator(mode="after")
    def _output_fits_objective(self) -> "PretrainParameters":
        wanted = 2 if self.objective is Objective.RECONSTRUCT else 3
        if self.network.dim_out != wanted:
            raise ValueError(f"objective {self.objective} needs network.dim_out {wanted}, not {self.network.dim_out}")
        return self


class FinetuneParameters(TrainingParameters):
    """Supervised lifting from a pretrained backbone."""

    head: HeadKind = HeadKind.JOINTS
    freeze_backbone: bool = True
