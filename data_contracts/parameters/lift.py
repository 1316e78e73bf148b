"""Parameters of lifting people's own keypoints."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.parameters.base import NO_RESULT, Parameters
from data_contracts.skeleton import JOINTS


class ExportFormat(StrEnum):
    """A file that other tools open; its value is the file's extension. What each holds: docs/lifting-formats.md."""

    NPZ = "npz"
    JSON = "json"
    CSV = "csv"
    TRC = "trc"  # OpenSim's markers
    C3D = "c3d"  # biomechanics' markers; needs the extra `exports`
    BVH = "bvh"
    GLB = "glb"
    GIF = "gif"


class SmoothingParameters(Parameters):
    """A zero-lag low-pass filter over time: Butterworth, run forth and back (Winter, Biomechanics, section 3.4)."""

    cutoff_hz: float = Field(3.0, gt=0, le=100, description="What is faster is taken for noise.")
    order: int = Field(2, ge=1, le=3, description="Of the filter; run twice, it falls off as one of twice the order.")
    depth_cutoff_hz: float = Field(
        0.5, gt=0, le=100, description="The same of the distance from the camera, which is told by far less."
    )


class OneEuroParameters(Parameters):
    """The one-euro filter of causal lifting (Casiez et al., CHI 2012)."""

    min_cutoff_hz: float = Field(3.0, gt=0, le=100, description="Of a joint that stands still: lower trembles less.")
    beta: float = Field(1.0, ge=0, description="How the cutoff rises with speed, Hz per m/s: higher lags less.")


class LiftParameters(Parameters):
    """Tracks of keypoints -> motion in metres."""

    stride: int | None = Field(
        None, ge=1, description="Frames between two windows, which are blended; none: a third of a window."
    )
    flip: bool | None = Field(None, description="Flip averaging; none: as the model was scored, or with it.")
    height: float | None = Field(
        None, gt=0.3, le=2.8, description="Of the person, metres; none: 1.70, give or take 0.10."
    )
    bones: dict[str, float] = Field(
        default_factory=dict,
        description="Lengths that were measured, metres, by the joint that a bone leads to (left_knee: the left"
        " thigh's); they go before the height.",
    )
    root: bool = Field(True, description="Tell where the person is; else the pelvis stays in place.")
    camera: Literal["auto", "perspective", "weak"] = Field(
        "auto", description="How the root is told: auto is perspective, and weak perspective where that fails."
    )
    fov_deg: float = Field(60.0, gt=1, lt=170, description="Field of view over the image's longer side.")
    focal_px: float | None = Field(None, gt=1, le=1e6, description="Focal length in pixels; goes before fov_deg.")
    pitch_deg: float | None = Field(
        None, ge=-89, le=89, description="How far the camera looks down; none: told by the floor and the bodies."
    )
    floor: bool = Field(True, description="Put the floor at z = 0; else the camera is at z = 0.")
    rigid: bool = Field(True, description="Bones keep their length over a track, and are alike left and right.")
    smoothing: SmoothingParameters | None = Field(
        SmoothingParameters(), description="Low-pass filter over time; null: none. Not in effect if causal."
    )
    causal: bool = Field(
        False, description="Lift each frame by what came before it alone, as it would be live; slow: one by one."
    )
    one_euro: OneEuroParameters | None = Field(
        OneEuroParameters(), description="Filter over time if causal, which needs nothing of what follows; null: none."
    )
    person: str = Field(
        "all", description="Who: all, longest, largest (in the image), or the number of a track of keypoints."
    )
    batch_size: Annotated[int, NO_RESULT] = Field(256, ge=1, description="Windows at once.")

    def idle(self) -> set[str]:
        """What the other way of lifting takes."""
        if self.causal:
            return {"smoothing", "stride", "rigid"}
        return {"one_euro"}

    @field_validator("bones")
    @classmethod
    def _bones_have_names_and_lengths(cls, bones: dict[str, float]) -> dict[str, float]:
        for name, length in bones.items():
            if name not in JOINTS[1:]:
                raise ValueError(f"bone {name!r}: a bone is called by the joint it leads to: {', '.join(JOINTS[1:])}")
            if not 0.01 <= length <= 1.5:
                raise ValueError(f"bone {name}: {length:g} metres; 0.01 to 1.5 are possible")
        return bones

    @model_validator(mode="after")
    def _person_is_one_of_these(self) -> "LiftParameters":
        if self.person not in ("all", "longest", "largest") and not self.person.isdecimal():
            raise ValueError(f"person {self.person!r}: pass all, longest, largest, or the number of a track")
        return self
