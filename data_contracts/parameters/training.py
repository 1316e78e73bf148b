"""Parameters of pretraining and fine-tuning: objective, input, loss and schedule."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters.base import NO_RESULT, Parameters, Precision, Share
from data_contracts.parameters.network import HeadKind, NetworkConfig
from data_contracts.skeleton import NUM_JOINTS

Schedule = Annotated[Literal["constant", "exponential", "cosine"], Field(description="Schedule of the learning rate.")]
_TRUNK_AND_LEGS_STD = (0.010, 0.015, 0.020, 0.028, 0.015, 0.020, 0.028, 0.012, 0.012)
_HEAD_AND_ARMS_STD = (0.014, 0.014, 0.015, 0.022, 0.030, 0.015, 0.022, 0.030)


class Objective(StrEnum):
    """Target of pretraining from corrupted 2D: the clean 2D pose (`reconstruct`) or the 3D pose (`lift`)."""

    RECONSTRUCT = "reconstruct"
    LIFT = "lift"


class NewCameras(Parameters):
    """A new camera for every window at every step: any yaw, aimed near the window's pelvis.

    The camera has the projection of the stored window, unless `perspective_share` is set.
    """

    max_pitch_deg: float = Field(30.0, ge=0, lt=90, description="Pitch of a new camera is uniform in [-max, max].")
    max_roll_deg: float = Field(5.0, ge=0, le=20, description="Roll of a new camera is uniform in [-max, max].")
    perspective_share: Share | None = Field(
        None, description="Share of windows with a perspective camera. Default: the projection of each stored window."
    )
    nearest_m: float = Field(
        3.0, ge=2, le=100, description="Smallest distance of a perspective camera from the pelvis."
    )
    farthest_m: float = Field(
        8.0, ge=2, le=100, description="Largest distance of a perspective camera from the pelvis."
    )
    max_off_axis_deg: float = Field(5.0, ge=0, le=45, description="Largest angle of the camera's axis to the pelvis.")

    @model_validator(mode="after")
    def _distances_are_in_order(self) -> "NewCameras":
        if self.nearest_m > self.farthest_m:
            raise ValueError(f"nearest_m {self.nearest_m:g} is above farthest_m {self.farthest_m:g}")
        return self

    def idle(self) -> set[str]:
        return {"nearest_m", "farthest_m", "max_off_axis_deg"} if self.perspective_share == 0 else set()


class NewBodies(Parameters):
    """New body proportions for every window at every step: one factor per bone, equal for left and right."""

    shortest: float = Field(0.85, ge=0.5, le=1, description="Smallest factor of a bone's length.")
    longest: float = Field(1.15, ge=1, le=1.5, description="Largest factor of a bone's length.")


class AugmentationParameters(Parameters):
    """Augmentation of training windows at every step, before corruption: limbs, turned bones, bodies, lean, cameras."""

    varied_share: Share = Field(1.0, description="Share of windows that limbs_share, bone_turn_deg, tilt_deg change.")
    limbs_share: Share = Field(
        0.0, description="Share of windows that get the arm motion of another window; drawn again for leg motion."
    )
    bone_turn_deg: float = Field(
        0.0, ge=0, le=45, description="Standard deviation of a bone's turn; hip bones are kept."
    )
    bodies: NewBodies | None = Field(None, description="New body proportions. Default: the subject's own.")
    tilt_deg: float = Field(0.0, ge=0, le=45, description="Standard deviation of the lean about horizontal axes.")
    cameras: NewCameras | None = Field(None, description="New cameras. Default: the camera of the stored window.")

    @property
    def wanted(self) -> bool:
        """Whether any augmentation is on."""
        return bool(self.cameras or self.bodies or self._poses)

    @property
    def _poses(self) -> bool:
        """Whether any pose is augmented."""
        return self.varied_share > 0 and bool(self.limbs_share or self.bone_turn_deg or self.tilt_deg)

    def idle(self) -> set[str]:
        return set() if self._poses else {"varied_share", "limbs_share", "bone_turn_deg", "tilt_deg"}


class DetectorNoise(Parameters):
    """Error model of a 2D detector (MotionBERT's synthetic 2D, lib/data/augmentation.py), in normalised units."""

    std: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (*_TRUNK_AND_LEGS_STD, *_HEAD_AND_ARMS_STD),
        description="Standard deviation of x and y: one value, or one for each of the 17 joints.",
    )
    outlier_share: Share = Field(0.03, description="Share of joints of a key frame with a uniform error (outliers).")
    outlier_range: float = Field(0.3, ge=0, description="Width of the uniform distribution of outliers.")
    key_every: int = Field(9, ge=1, description="Frames per key frame; errors are drawn at them and interpolated.")
    jitter_std: float = Field(0.002, ge=0, description="Standard deviation of additional noise in each frame.")
    confidence_a: float = Field(0.05, gt=0, description="a in the confidence at error d: a/(d+a) + b d + N(mean, std).")
    confidence_b: float = Field(0.0, description="Coefficient b of the confidence.")
    confidence_mean: float = Field(0.0, description="Mean of the noise of the confidence.")
    confidence_std: float = Field(0.05, ge=0, description="Standard deviation of the noise of the confidence.")

    @field_validator("std")
    @classmethod
    def _one_or_all(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if len(std) not in (1, NUM_JOINTS):
            raise ValueError(f"got {len(std)} standard deviations; expected one, or {NUM_JOINTS} (one per joint)")
        return std

    def idle(self) -> set[str]:
        return set() if self.outlier_share else {"outlier_range"}


class CorruptionParameters(Parameters):
    """Corruption of the 2D input of the network, in the window's normalised units."""

    frame_share: Share = Field(0.0, description="Share of frames in which all joints are replaced.")
    joint_share: Share = Field(0.0, description="Share of single joints that are replaced.")
    fill: Literal["normal", "zero", "token"] = Field(
        "normal", description="Replacement of masked joints: N(0,1), 0 with confidence 0, or a learned token."
    )
    noise: DetectorNoise | None = Field(None, description="Detector noise. Default: exact 2D with confidence 1.")
    clean_share: Share = Field(0.0, description="Share of windows without noise and masks; their confidence stays 1.")
    skeletons_share: Share = Field(0.0, description="Share of windows with joints derived from a detector skeleton.")
    skeletons: tuple[Detector, ...] = Field(
        tuple(name for name in Detector if name is not Detector.H36M17),
        min_length=1,
        description="Detector skeletons, one drawn per window and step.",
    )

    @property
    def masks(self) -> bool:
        """Whether joints are replaced."""
        return self.frame_share > 0 or self.joint_share > 0

    @property
    def learns_token(self) -> bool:
        """Whether the network needs a learned token for masked joints (`fill` is `token`)."""
        return self.masks and self.fill == "token"

    def idle(self) -> set[str]:
        unused = {
            "fill": not self.masks,
            "clean_share": not self.clean_share or not (self.masks or self.noise),
            "skeletons_share": not self.skeletons_share,
            "skeletons": not self.skeletons_share,
        }
        return {name for name, is_unused in unused.items() if is_unused}


class LossWeights(Parameters):
    """Weights of the loss terms (MotionBERT, section 4.2); terms of weight 0 are not computed."""

    mpjpe: float = Field(1.0, ge=0, description="Weight of the distance of joints in 3D.")
    n_mpjpe: float = Field(0.0, ge=0, description="Weight of the distance of joints after best scaling.")
    velocity: float = Field(0.0, ge=0, description="Weight of the error of joint motion from frame to frame.")

    @model_validator(mode="after")
    def _some_term_counts(self) -> "LossWeights":
        if self.mpjpe + self.n_mpjpe + self.velocity == 0:
            raise ValueError("every loss weight is 0: set one of mpjpe, n_mpjpe and velocity above 0")
        return self


class TrainingParameters(Parameters):
    """Parameters of the training loop, shared by pretraining and fine-tuning."""

    batch_size: int = Field(64, ge=1, description="Windows per micro-batch.")
    auto_batch: Annotated[bool, NO_RESULT] = Field(False, description="Use the largest micro-batch that fits (CUDA).")
    accumulate: int = Field(1, ge=1, description="Micro-batches per optimiser step.")
    max_epochs: int = Field(10, ge=1, description="Largest number of epochs.")
    patience: int = Field(10, ge=1, description="Epochs without a better validation score before stopping.")
    optimiser: Literal["adamw", "muon"] = Field("adamw", description="Optimiser: AdamW, or Muon for hidden matrices.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Highest learning rate of the schedule.")
    norm_learning_rate: float | None = Field(
        None, gt=0, le=1, description="Learning rate of the last LayerNorm. Default: learning_rate."
    )
    schedule: Schedule = "constant"
    decay: float = Field(0.99, gt=0, le=1, description="Factor per epoch of the exponential schedule.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="Decay of the optimiser's two moving averages."
    )
    eps: float = Field(1e-8, gt=0, description="Constant added to the denominator of the optimiser.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay per step, multiplied by the learning rate.")
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of the gradients.")
    loss: LossWeights = LossWeights()
    loss_on: Literal["all", "masked"] = Field("all", description="Joints in the loss: all, or the masked ones.")
    focal_gamma: float = Field(0.0, ge=0, description="Exponent of the focal weight of errors; 0 turns it off.")
    augmentation: AugmentationParameters = AugmentationParameters()
    corruption: CorruptionParameters = CorruptionParameters()
    flip: bool = Field(False, description="Mirror half of the windows.")
    precision: Precision = "32-true"
    gradient_checkpointing: Annotated[bool, NO_RESULT] = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    checkpoint_every: int | None = Field(
        None, ge=1, description="Epochs between two checkpoints that are kept in addition to the best. Default: none."
    )
    keep_top: int = Field(3, ge=1, le=100, description="Number of epochs with the best scores to keep as checkpoints.")
    max_bad_steps: Annotated[int, NO_RESULT] = Field(
        20, ge=1, description="Consecutive steps with a non-finite loss after which training fails."
    )
    seed: int = Field(0, ge=0, description="Seed of the initial weights, the order of windows and their augmentation.")

    @model_validator(mode="after")
    def _something_is_masked(self) -> "TrainingParameters":
        if self.loss_on == "masked" and not self.corruption.masks:
            raise ValueError("loss_on=masked needs corruption.frame_share or corruption.joint_share above 0")
        return self

    def idle(self) -> set[str]:
        unused = {
            "decay": self.schedule != "exponential",
            "norm_learning_rate": self.norm_learning_rate in (None, self.learning_rate),
            "patience": self.patience >= self.max_epochs,
            "augmentation": not self.augmentation.wanted,
        }
        return {name for name, is_unused in unused.items() if is_unused}


class PretrainParameters(TrainingParameters):
    """Masked pretraining of the whole network."""

    objective: Objective = Objective.LIFT
    network: NetworkConfig = NetworkConfig()
    head: Literal[HeadKind.JOINTS, HeadKind.POSE] = Field(HeadKind.JOINTS, description="Head of the network.")

    @model_validator(mode="after")
    def _output_fits_objective(self) -> "PretrainParameters":
        wanted = 2 if self.objective is Objective.RECONSTRUCT else 3
        if self.network.dim_out != wanted:
            raise ValueError(f"objective {self.objective} needs network.dim_out {wanted}, not {self.network.dim_out}")
        if self.network.kind == "mlp" and self.head is not HeadKind.POSE:
            raise ValueError(f"network.kind mlp needs head pose, not {self.head}")
        return self

    def idle(self) -> set[str]:
        """Return also the fields that the stage sets from its windows and the corruption."""
        return super().idle() | {"network.max_frames", "network.mask_token"}


class FinetuneParameters(TrainingParameters):
    """Supervised lifting from a pretrained backbone."""

    head: HeadKind = HeadKind.JOINTS
    freeze_backbone: bool = Field(True, description="Train only the head.")


_MLP = NetworkConfig(kind="mlp", stem_width=512, stem_blocks=3, cosines=8, geometry="foreshortening")


class MLPParameters(TrainingParameters):
    """MLP baseline, trained for a number of minutes; its defaults are those of preset `cpu`."""

    minutes: float = Field(4.0, gt=0, le=10_000, description="Training minutes: CPU time, or wall time on a GPU.")
    network: NetworkConfig = _MLP
    batch_size: int = Field(128, ge=1, description="Windows per micro-batch.")
    optimiser: Literal["adamw", "muon"] = Field("muon", description="Optimiser: AdamW, or Muon for hidden matrices.")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate of the schedule.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay per step, multiplied by the learning rate.")
    schedule: Schedule = "cosine"
    flip: bool = Field(True, description="Mirror half of the windows.")

    @field_validator("network", mode="before")
    @classmethod
    def _complete(cls, network: Any) -> Any:
        """Add the defaults of the MLP to a mapping, which may have some fields only."""
        return _MLP.model_dump() | network if isinstance(network, dict) else network

    def idle(self) -> set[str]:
        """Return also the fields of epochs, checkpoints and the last LayerNorm: the MLP trains for `minutes`."""
        of_epochs = {"max_epochs", "patience", "keep_top", "checkpoint_every", "norm_learning_rate"}
        return super().idle() | of_epochs | {"network.max_frames", "network.mask_token"}
