"""Parameters of pretraining and fine-tuning: what is learned, from what input, by which loss and schedule."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters.augmentation import AugmentationParameters
from data_contracts.parameters.base import NO_RESULT, Parameters, Share
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
    key_every: int = Field(
        9, ge=1, description="One of so many frames draws errors, spread over a window; the others interpolate."
    )
    jitter_std: float = Field(0.002, ge=0, description="Noise of each frame on top.")
    confidence_a: float = Field(
        0.05, gt=0, description="Confidence at displacement d: a / (d + a) + b d + N(mean, std)."
    )
    confidence_b: float = Field(0.0, description="b of that.")
    confidence_mean: float = Field(0.0, description="Mean of its noise N.")
    confidence_std: float = Field(0.05, ge=0, description="Standard deviation of its noise N.")

    @field_validator("std")
    @classmethod
    def _one_or_all(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if len(std) not in (1, NUM_JOINTS):
            raise ValueError(f"{len(std)} standard deviations; pass one, or one for each of the {NUM_JOINTS} joints")
        return std

    def idle(self) -> set[str]:
        """The outliers' range, where there are none."""
        return set() if self.outlier_share else {"outlier_range"}


class CorruptionParameters(Parameters):
    """What is done to the 2D input before the network sees it. Units are the window's normalised units."""

    frame_share: Share = Field(0.0, description="Share of frames whose joints are all replaced.")
    joint_share: Share = Field(0.0, description="Share of single joints replaced.")
    fill: Literal["normal", "zero", "token"] = Field(
        "normal", description="Replaced by N(0,1), by 0 with confidence 0, or by a token that is learned."
    )
    noise: DetectorNoise | None = Field(None, description="Detector noise; none: the true 2D with confidence 1.")
    clean_share: Share = Field(
        0.0, description="Share of windows that noise and masks leave as they are: their confidence stays 1."
    )
    skeletons_share: Share = Field(
        0.0,
        description="Share of windows whose joints are derived from a detector's keypoints, before noise and masks.",
    )
    skeletons: tuple[Detector, ...] = Field(
        tuple(name for name in Detector if name is not Detector.H36M17),
        min_length=1,
        description="The detectors: one for a whole window, drawn anew at every step.",
    )

    @property
    def masks(self) -> bool:
        """Whether any joint is replaced."""
        return self.frame_share > 0 or self.joint_share > 0

    @property
    def learns_token(self) -> bool:
        """Whether the network needs a token to put in a masked joint's place."""
        return self.masks and self.fill == "token"

    def idle(self) -> set[str]:
        """What masked joints are filled with, where none is masked; who is spared, where nothing is done to any; and
        detectors, where no window is seen by one.
        """
        return {
            name
            for name, idle in {
                "fill": not self.masks,
                "clean_share": not self.clean_share or not (self.masks or self.noise),
                "skeletons_share": not self.skeletons_share,
                "skeletons": not self.skeletons_share,
            }.items()
            if idle
        }


class LossWeights(Parameters):
    """Weights of the loss terms (MotionBERT, section 4.2); a term with weight 0 is not computed."""

    mpjpe: float = Field(1.0, ge=0, description="Distance of a joint in 3D.")
    n_mpjpe: float = Field(0.0, ge=0, description="The same after the best scale.")
    velocity: float = Field(0.0, ge=0, description="Distance of a joint's step from frame to frame.")

    @model_validator(mode="after")
    def _some_term_counts(self) -> "LossWeights":
        if self.mpjpe + self.n_mpjpe + self.velocity == 0:
            raise ValueError("every loss weight is 0: nothing would be learned")
        return self


class TrainingParameters(Parameters):
    """The training loop, common to pretraining and fine-tuning."""

    batch_size: int = Field(64, ge=1, description="Windows per micro-batch.")
    auto_batch: Annotated[bool, NO_RESULT] = Field(
        False, description="On CUDA: grow the micro-batch to the largest that fits."
    )
    accumulate: int = Field(1, ge=1, description="Micro-batches per optimiser step.")
    max_epochs: int = Field(10, ge=1, description="Times that all windows are seen, at most.")
    patience: int = Field(10, ge=1, description="Epochs without a better validation score before stopping.")
    optimiser: Literal["adamw", "muon"] = Field(
        "adamw", description="`muon`: for matrices between hidden features; AdamW for the rest, at the same rate."
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="The highest; the schedule lowers it.")
    norm_learning_rate: float | None = Field(None, gt=0, le=1, description="For the last LayerNorm; none: the same.")
    schedule: Literal["constant", "exponential", "cosine"] = Field("constant", description="Of the learning rate.")
    decay: float = Field(0.99, gt=0, le=1, description="Factor per epoch of the exponential schedule.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="Of the optimiser's two averages."
    )
    eps: float = Field(1e-8, gt=0, description="What the optimiser adds to what it divides by.")
    weight_decay: float = Field(1e-4, ge=0, description="What a weight loses each step, for each learning rate.")
    clip_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    loss: LossWeights = LossWeights()
    loss_on: Literal["all", "masked"] = Field("all", description="Joints that count: all, or those that were replaced.")
    focal_gamma: float = Field(0.0, ge=0, description="Focal weight of a joint's error; 0 turns it off.")
    augmentation: AugmentationParameters = AugmentationParameters()
    corruption: CorruptionParameters = CorruptionParameters()
    flip: bool = Field(False, description="Mirror half of the windows.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="16-mixed (fp16): on CUDA only, refused elsewhere."
    )
    gradient_checkpointing: Annotated[bool, NO_RESULT] = Field(
        False, description="Compute activations twice instead of keeping them: less memory, more time."
    )
    checkpoint_every: int | None = Field(None, ge=1, description="Keep a checkpoint every so many epochs.")
    keep_top: int = Field(3, ge=1, le=100, description="Best checkpoints kept.")
    max_bad_steps: Annotated[int, NO_RESULT] = Field(
        20, ge=1, description="Steps in a row that are not finite, after which training is given up."
    )
    seed: int = Field(0, ge=0, description="Of the first weights, the order of windows, and what is drawn of them.")

    @model_validator(mode="after")
    def _something_is_masked(self) -> "TrainingParameters":
        if self.loss_on == "masked" and not self.corruption.masks:
            raise ValueError("loss_on masked needs a corruption.frame_share or joint_share above 0")
        return self

    def idle(self) -> set[str]:
        """Return `decay` of a schedule without it, a LayerNorm rate equal to the common one, patience that cannot end
        training, and augmentation that changes nothing.
        """
        return {
            name
            for name, idle in {
                "decay": self.schedule != "exponential",
                "norm_learning_rate": self.norm_learning_rate in (None, self.learning_rate),
                "patience": self.patience >= self.max_epochs,
                "augmentation": not self.augmentation.wanted,
            }.items()
            if idle
        }


class PretrainParameters(TrainingParameters):
    """Masked pretraining of the whole network."""

    objective: Objective = Objective.LIFT
    network: DSTformerConfig = DSTformerConfig()
    head: Literal[HeadKind.JOINTS, HeadKind.POSE] = Field(HeadKind.JOINTS, description="What the network ends in.")

    @model_validator(mode="after")
    def _output_fits_objective(self) -> "PretrainParameters":
        wanted = 2 if self.objective is Objective.RECONSTRUCT else 3
        if self.network.dim_out != wanted:
            raise ValueError(f"objective {self.objective} needs network.dim_out {wanted}, not {self.network.dim_out}")
        return self

    def idle(self) -> set[str]:
        """Add the fields that the stage itself sets."""
        return super().idle() | {"network.max_frames", "network.mask_token"}


class FinetuneParameters(TrainingParameters):
    """Supervised lifting from a pretrained backbone."""

    head: HeadKind = HeadKind.JOINTS
    freeze_backbone: bool = Field(True, description="Only the head learns.")


class MLPParameters(TrainingParameters):
    """The baseline that learns (Martinez et al., ICCV 2017, over a window): as the model does, for so many minutes."""

    minutes: float = Field(
        4.0, gt=0, le=10_000, description="Of training: CPU time of the process; on a GPU, time of the clock."
    )
    width: int = Field(768, ge=1, le=65_536, description="Hidden features.")
    blocks: int = Field(2, ge=0, le=1000, description="Residual blocks: LayerNorm, Linear, GELU, Linear.")
    batch_size: int = Field(128, ge=1, description="Windows per micro-batch.")
    schedule: Literal["constant", "exponential", "cosine"] = Field("cosine", description="Of the learning rate.")
    flip: bool = Field(True, description="Mirror half of the windows.")

    def idle(self) -> set[str]:
        """Add the fields of epochs, their checkpoints and the LayerNorm: the MLP trains for minutes."""
        return super().idle() | {"max_epochs", "patience", "keep_top", "checkpoint_every", "norm_learning_rate"}
