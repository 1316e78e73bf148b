"""Parameters from motion to windows: synthetic motion, ingest, convert."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.parameters.base import NO_RESULT, Parameters, Share

SYNTHETIC_SOURCE = "synthetic"


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
    """What decides the split of a group: a stable hash of its name, AMASS's official split, or lists of names."""

    HASH = "hash"
    AMASS = "amass"
    GROUPS = "groups"


ALL = "all"  # in the place of a list of groups


class SyntheticParameters(Parameters):
    """The embedded demo motion: how many people move, for how long, and from which seed."""

    seed: int = Field(0, ge=0, description="Of their bodies and movements.")
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

    licence: Annotated[str | None, NO_RESULT] = Field(
        None, max_length=500, description="Licence of the data, as you know it: it stands in the model card."
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
    train_views: int | None = Field(
        None, ge=1, le=1024, description="Of a training clip; none: as many. New cameras in training need one."
    )
    projection: Projection = Projection.ORTHOGRAPHIC
    max_pitch_deg: float = Field(15.0, ge=0, lt=90, description="Camera pitch is uniform in [-max, max].")
    short_clips: ShortClips = Field(
        ShortClips.PAD, description="Clips shorter than the window: padded (confidence 0) or left out."
    )
    split_by: SplitBy = SplitBy.HASH
    val_share: Share = Field(0.15, description="Of the groups: the best epoch is chosen on them.")
    test_share: Share = Field(
        0.15, description="Of the groups, to score on; 0: windows to train on alone, which no score is taken on."
    )
    split_seed: int = Field(204, ge=0, description="Salt of the hash that puts a group into a split.")
    val_groups: tuple[str, ...] = Field((), description="With split_by=groups: who validates; the others train.")
    test_groups: tuple[str, ...] | Literal["all"] = Field(
        (), description="With split_by=groups: who is tested; all: windows to score models on, and nothing to train on."
    )
    seed: int = Field(0, ge=0, description="Seed of the cameras.")

    def views_of(self, split: str) -> int:
        """Virtual cameras of a clip of that split."""
        return self.train_views if split == "train" and self.train_views else self.views

    @field_validator("val_share")
    @classmethod
    def _someone_validates(cls, share: float) -> float:
        if share == 0:
            raise ValueError(
                "training keeps the epoch that is best on the people of val, so val needs some; test_share may be 0"
            )
        return share

    @field_validator("val_groups", "test_groups", mode="before")
    @classmethod
    def _as_names(cls, value: object) -> object:
        """YAML reads a group 60 as a number; as text it is again what was typed, other than 1.50 or yes."""
        if value == ALL:
            return value
        if not isinstance(value, list | tuple | set):
            raise ValueError("write a list of groups, as [S9, S11]")
        for name in value:
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise ValueError(f"{name!r} is no name of a group; put what YAML takes for something else in quotes")
        return sorted({str(name) for name in value})

    @model_validator(mode="after")
    def _shares_leave_room_for_training(self) -> "ConvertParameters":
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share + test_share is {self.val_share + self.test_share:g}; it must stay below 1")
        return self

    @model_validator(mode="after")
    def _a_group_is_in_one_list(self) -> "ConvertParameters":
        if self.split_by is SplitBy.GROUPS and not self.val_groups and not self.test_groups:
            raise ValueError("split_by=groups needs val_groups and test_groups: lists of names; the others train")
        both = self.val_groups if self.test_groups == ALL else sorted({*self.val_groups} & {*self.test_groups})
        if both:
            raise ValueError(f"{', '.join(both)} in val_groups and in test_groups; a group stands in one split")
        return self

    def idle(self) -> set[str]:
        """What places groups otherwise than `split_by` says; views of training windows that are as many as any."""
        views = {"train_views"} if self.train_views in (None, self.views) else set()
        by_hash, by_name = {"val_share", "test_share", "split_seed"}, {"val_groups", "test_groups"}
        unread = {SplitBy.HASH: by_name, SplitBy.AMASS: by_hash | by_name, SplitBy.GROUPS: by_hash}[self.split_by]
        return views | unread
