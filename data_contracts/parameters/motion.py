"""Parameters of synthetic motion, ingest and convert: from motion to windows."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.parameters.base import NO_RESULT, Parameters, Share

SYNTHETIC_SOURCE = "synthetic"
SYNTHETIC_FILE = "synthetic_joints_h36m_60.pkl"


class GroupBy(StrEnum):
    """Unit that is never divided between splits."""

    SUBJECT = "subject"
    RECORDING = "recording"
    CLIP = "clip"


class Layout(StrEnum):
    """Order of the axes of a motion array."""

    AUTO = "auto"
    JOINTS_FIRST = "joints_first"  # (17, frames, 3)
    FRAMES_FIRST = "frames_first"  # (frames, 17, 3)


class SplitBy(StrEnum):
    """Rule that assigns groups to splits: a stable hash of the name, AMASS's official split, or lists of names."""

    HASH = "hash"
    AMASS = "amass"
    GROUPS = "groups"


ALL = "all"  # instead of a list of groups


class SyntheticParameters(Parameters):
    """Embedded demo motion: number of subjects, clip length and seed."""

    seed: int = Field(0, ge=0, description="Seed of bodies and movements.")
    people: int = Field(24, ge=3, description="Number of subjects; each does every action.")
    seconds: float = Field(8.0, gt=1.0, le=600.0, description="Length of a clip in seconds.")


class IngestParameters(Parameters):
    """Conversion of motion files to clips."""

    fps: float = Field(60.0, gt=0, le=1000, description="Frames per second if file and clip list contain none.")
    unit: Literal["m", "cm", "mm"] = Field("m", description="In files of arrays: unit of the coordinates.")
    up: Literal["z", "y", "x", "-z", "-y", "-x"] = Field("z", description="In files of arrays: axis that points up.")
    layout: Layout = Field(Layout.AUTO, description="Order of the axes of an array; auto detects it from the shapes.")
    min_frames: int = Field(30, ge=2, description="Shortest clip in frames; the quarantine file lists shorter clips.")
    max_quarantined: Share = Field(0.05, description="Share of invalid clips above which the stage fails.")
    group_by: GroupBy = Field(
        GroupBy.SUBJECT,
        description="Unit that stays in one split; with recording or clip, a subject may be in several splits.",
    )
    group_pattern: re.Pattern[str] | None = Field(
        None,
        description="Regular expression for the subject in a clip name (first group or whole match). Default: AMASS's"
        " DATASET_SUBJECT_...",
    )
    body_model: Annotated[str | None, NO_RESULT] = Field(  # the digest has the contents of its files instead
        None, description="Folder of body models, on the worker; the sources are then motion files of AMASS."
    )
    licence: Annotated[str | None, NO_RESULT] = Field(None, max_length=500, description="Licence of the motion.")


class Projection(StrEnum):
    """Projection of a virtual camera."""

    ORTHOGRAPHIC = "orthographic"
    PERSPECTIVE = "perspective"


class ShortClips(StrEnum):
    """Treatment of clips shorter than the window."""

    PAD = "pad"
    DROP = "drop"


class ConvertParameters(Parameters):
    """Conversion of clips to windows of virtual cameras, split by group."""

    fps: float | None = Field(None, gt=0, le=1000, description="Frame rate of windows. Default: that of each clip.")
    window: int = Field(27, ge=1, le=4096, description="Length of a window in frames.")
    stride: int = Field(9, ge=1, description="Frames between the starts of two windows.")
    views: int = Field(4, ge=1, le=1024, description="Virtual cameras per clip.")
    train_views: int | None = Field(None, ge=1, le=1024, description="Cameras per training clip. Default: views.")
    projection: Projection = Projection.PERSPECTIVE
    max_pitch_deg: float = Field(30.0, ge=0, lt=60, description="Pitch of a camera is uniform in [-max, max].")
    max_roll_deg: float = Field(5.0, ge=0, le=20, description="Roll of a camera is uniform in [-max, max].")
    short_clips: ShortClips = Field(ShortClips.PAD, description="Treatment of clips shorter than the window.")
    split_by: SplitBy = SplitBy.HASH
    val_share: float = Field(0.15, gt=0, le=1, description="Share of groups for validation, which selects the epoch.")
    test_share: Share = Field(0.15, description="Share of groups for testing; 0 makes windows for training only.")
    split_seed: int = Field(204, ge=0, description="Salt of the hash that assigns a group to a split.")
    val_groups: tuple[str, ...] = Field((), description="Validation groups for split_by=groups; other groups train.")
    test_groups: tuple[str, ...] | Literal["all"] = Field(
        (), description="Test groups for split_by=groups; all makes windows for evaluation only."
    )
    seed: int = Field(0, ge=0, description="Seed of the cameras.")

    def views_of(self, split: str) -> int:
        """Return the number of virtual cameras for a clip of that split."""
        return self.train_views if split == "train" and self.train_views else self.views

    @field_validator("val_groups", "test_groups", mode="before")
    @classmethod
    def _as_names(cls, value: object) -> object:
        """Convert numbers back to text, because YAML reads names such as 60 as numbers."""
        if value == ALL:
            return value
        if not isinstance(value, list | tuple | set):
            raise ValueError("expected a list of groups, e.g. [S9, S11]")
        for name in value:
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise ValueError(f"{name!r} is not a group name; quote names that YAML reads as another type")
        return sorted({str(name) for name in value})

    @model_validator(mode="after")
    def _splits_do_not_overlap(self) -> "ConvertParameters":
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share + test_share is {self.val_share + self.test_share:g}; it must stay below 1")
        if self.split_by is SplitBy.GROUPS and not self.val_groups and not self.test_groups:
            raise ValueError("split_by=groups needs a list of names in val_groups or test_groups; other groups train")
        both = self.val_groups if self.test_groups == ALL else sorted({*self.val_groups} & {*self.test_groups})
        if both:
            raise ValueError(
                f"groups {', '.join(both)} are in val_groups and in test_groups; remove each from one of them"
            )
        return self

    def idle(self) -> set[str]:
        views = {"train_views"} if self.train_views in (None, self.views) else set()
        by_hash, by_name = {"val_share", "test_share", "split_seed"}, {"val_groups", "test_groups"}
        unread = {SplitBy.HASH: by_name, SplitBy.AMASS: by_hash | by_name, SplitBy.GROUPS: by_hash}[self.split_by]
        return views | unread
