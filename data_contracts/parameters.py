"""Parameters of every stage: pydantic models with bounds, so that a bad value is refused at the door.

Notable decisions:
- what changes a result stands in a stage's own model and so in its digest; where it runs stands in
  `Runtime` and does not;
- a preset (`data_contracts.presets`) is one YAML of `PipelineParameters`.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_contracts.skeleton import NUM_JOINTS

SYNTHETIC_SOURCE = "synthetic"
_TRUNK_AND_LEGS_STD = (0.010, 0.015, 0.020, 0.028, 0.015, 0.020, 0.028, 0.012, 0.012)
_HEAD_AND_ARMS_STD = (0.014, 0.014, 0.015, 0.022, 0.030, 0.015, 0.022, 0.030)

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Parameters(BaseModel):
    """Base of all parameter models: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupBy(StrEnum):
    """What may not be split between train and test."""

    SUBJECT = "subject"
    RECORDING = "recording"
    CLIP = "clip"


class Layout(StrEnum):
    """Order of the axes of a motion array."""

    AUTO = "auto"
    JOINTS_FIRST = "joints_first"  # (17, frames, 3)
    FRAMES_FIRST = "frames_first"  # (frames, 17, 3)


class SplitBy(StrEnum):
    """What decides the split of a group: a stable hash of its name, or AMASS's official split by data set."""

    HASH = "hash"
    AMASS = "amass"


class SyntheticParameters(Parameters):
    """The embedded demo motion: how many people move, for how long, and from which seed."""

    seed: int = Field(0, ge=0)
    people: int = Field(24, ge=3, description="People, each with every action.")
    seconds: float = Field(8.0, gt=1.0, le=600.0, description="Length of a clip.")


class IngestParameters(Parameters):
    """Motion file -> clips."""

    fps: float = Field(60.0, gt=0, le=1000, description="Frames per second, where file and clip list give none.")
    unit: Literal["m", "cm", "mm"] = Field("m", description="Unit of the file's coordinates.")
    up: Literal["z", "y"] = Field("z", description="Axis of the file that points up.")
    layout: Layout = Field(Layout.AUTO, description="Order of an array's axes; auto: told by the shapes of the file.")
    min_frames: int = Field(30, ge=2, description="Shorter clips are left out, each named in the quarantine file.")
    max_quarantined: Share = Field(0.05, description="Above this share of broken clips the stage fails.")
    group_by: GroupBy = Field(
        GroupBy.SUBJECT, description="Group of a clip: its subject, its recording, or itself (then people are split)."
    )
    group_pattern: str | None = Field(
        None,
        description="Regular expression found in a clip's name: its first group (or all of it) is the subject, where"
        " the file gives none. None: AMASS names, DATASET_SUBJECT_...",
    )

    @field_validator("group_pattern")
    @classmethod
    def _is_a_regular_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern


class Projection(StrEnum):
    """The virtual camera's projection."""

    ORTHOGRAPHIC = "orthographic"
    PERSPECTIVE = "perspective"


class ShortClips(StrEnum):
    """What happens to a clip shorter than the window."""

    PAD = "pad"
    DROP = "drop"


class ConvertParameters(Parameters):
    """Clips -> windows seen by virtual cameras, split by group."""

    fps: float | None = Field(
        None, gt=0, le=1000, description="Clips are interpolated to this rate; none: each keeps its own."
    )
    window: int = Field(27, ge=1, le=4096, description="Frames of a window.")
    stride: int = Field(9, ge=1, description="Frames between the starts of two windows.")
    views: int = Field(4, ge=1, le=1024, description="Virtual cameras per clip.")
    projection: Projection = Projection.ORTHOGRAPHIC
    max_pitch_deg: float = Field(15.0, ge=0, lt=90, description="Camera pitch is uniform in [-max, max].")
    short_clips: ShortClips = Field(
        ShortClips.PAD, description="Clips shorter than the window: padded (confidence 0) or left out."
    )
    split_by: SplitBy = SplitBy.HASH
    val_share: Share = 0.15
    test_share: Share = 0.15
    split_seed: int = Field(204, ge=0, description="Salt of the hash that puts a group into a split.")
    seed: int = Field(0, ge=0, description="Seed of the cameras.")

    @model_validator(mode="after")
    def _shares_leave_room_for_training(self) -> "ConvertParameters":
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share + test_share is {self.val_share + self.test_share:g}; it must stay below 1")
        return self


class DSTformerConfig(Parameters):
    """Shape of the DSTformer (MotionBERT, Zhu et al., ICCV 2023, section 4.1)."""

    dim_in: Literal[2, 3] = Field(3, description="Input per joint: x, y, or x, y, confidence.")
    dim_out: Literal[2, 3] = Field(3, description="Output per joint: the 2D pose, or the 3D pose.")
    embed_dim: int = Field(64, ge=8, description="Features per joint.")
    heads: int = Field(8, ge=1)
    fusion_depth: int = Field(2, ge=1, description="Stages, each fusing an ST and a TS stream.")
    attn_depth: int = Field(1, ge=1, description="Blocks per stream in a stage; 1 is MotionBERT's network.")
    mlp_ratio: float = Field(2.0, gt=0)
    rep_dim: int | None = Field(None, ge=1, description="Width of Linear+tanh before the head; none leaves it out.")
    max_frames: int = Field(243, ge=1, description="Longest window; set from the windows when training starts.")
    mask_token: bool = Field(False, description="Learns what stands for a masked joint; set where `fill` is `token`.")

    @model_validator(mode="after")
    def _heads_divide_features(self) -> "DSTformerConfig":
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not a multiple of heads {self.heads}")
        return self


class HeadKind(StrEnum):
    """`joints`: a linear map to the pose. `depth`: the seed's 64-128-1, z only, with x and y taken from the input."""

    JOINTS = "joints"
    DEPTH = "depth"


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


class Runtime(Parameters):
    """Where training runs; changes no result and stands in no digest."""

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1, description="Processes of this machine that share every step, one a device.")
    nodes: int = Field(1, ge=1, description="Machines that do, each started by hand but this one (README).")
    rendezvous: str | None = Field(None, description="host:port of this machine, where the other nodes find it.")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: on CUDA.")
    features: Literal["auto", "off"] = Field(
        "auto", description="What a frozen backbone makes of the windows is kept: in memory, else on disk."
    )
    checkpoint_minutes: float = Field(10.0, gt=0, description="Between two `last` checkpoints within an epoch.")
    threads: int | None = Field(
        None, ge=1, description="CPU threads; none: half the cores, which leaves the other half to serve and track."
    )
    memory_gb: float | None = Field(
        None, gt=0, description="Windows larger than this are streamed; none: half of the memory that is free."
    )


class Workers(Parameters):
    """Where batches of clips are converted; changes no result and stands in no digest."""

    processes: int | None = Field(None, ge=1, description="Processes on this machine; none: one for each core.")
    dask: str | None = Field(None, description="Address of a Dask scheduler (tcp://host:8786) to use instead.")


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
    train: Runtime = Runtime()
