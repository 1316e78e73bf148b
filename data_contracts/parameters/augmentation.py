"""Parameters of what makes training windows new at every step; everything is off unless asked for.

A window is metric, so it can be turned level and stood before another camera, and a body can be given other bones,
before its 2D is made again. Validation and test windows are never touched.
"""

from pydantic import Field, model_validator

from data_contracts.parameters.base import Parameters, Share


class NewCameras(Parameters):
    """A camera of its own for every window of every step: upright, any yaw, aimed at the window's pelvis or beside it.

    Orthographic or perspective as the stored window is, unless `perspective_share` draws it.
    """

    max_pitch_deg: float = Field(15.0, ge=0, lt=90, description="Pitch is uniform in [-max, max].")
    perspective_share: Share | None = Field(
        None, description="Share of windows in perspective, the rest orthographic; none: each as it is stored."
    )
    nearest_m: float = Field(3.0, ge=2, le=100, description="Distance, along its axis, of a perspective camera and the")
    farthest_m: float = Field(6.0, ge=2, le=100, description="nearest pelvis of the window: uniform between the two.")
    max_off_axis_deg: float = Field(
        10.0, ge=0, le=45, description="Angle, each way, between a perspective camera's axis and the window's pelvis."
    )

    @model_validator(mode="after")
    def _distances_are_in_order(self) -> "NewCameras":
        if self.nearest_m > self.farthest_m:
            raise ValueError(f"nearest_m {self.nearest_m:g} is above farthest_m {self.farthest_m:g}")
        return self

    def idle(self) -> set[str]:
        """Where a perspective camera stands, where there is none."""
        return {"nearest_m", "farthest_m", "max_off_axis_deg"} if self.perspective_share == 0 else set()


class NewBodies(Parameters):
    """A body of its own for every window of every step: each bone scaled by its factor, left and right alike."""

    shortest: float = Field(0.85, ge=0.5, le=1, description="Bones of a new body are at least so many times as long.")
    longest: float = Field(1.15, ge=1, le=1.5, description="And at most so many times.")


class AugmentationParameters(Parameters):
    """How training windows are made new at every step, before they are corrupted.

    In this order: limbs, turned bones, new bodies, leaning, new cameras. Bodies and cameras are for every window.
    """

    varied_share: Share = Field(
        1.0,
        description="Share of windows that limbs_share, bone_turn_deg and tilt_deg are for; the rest moves as it did.",
    )
    limbs_share: Share = Field(
        0.0, description="Share of windows whose arms, and share whose legs, move as another window's of the step."
    )
    bone_turn_deg: float = Field(
        0.0,
        ge=0,
        le=45,
        description="Bones but the hips' are turned by an angle of this size about each axis (s.d.).",
    )
    bodies: NewBodies | None = Field(None, description="New bone lengths; none: the person's own.")
    tilt_deg: float = Field(
        0.0, ge=0, le=45, description="Windows lean by an angle of this size about each level axis (s.d., normal)."
    )
    cameras: NewCameras | None = Field(None, description="New cameras; none: the window's own sees it again.")

    @property
    def wanted(self) -> bool:
        """Whether anything is made new."""
        return bool(self.cameras or self.bodies or self._poses)

    @property
    def _poses(self) -> bool:
        """Whether any pose is made new."""
        return self.varied_share > 0 and bool(self.limbs_share or self.bone_turn_deg or self.tilt_deg)

    def idle(self) -> set[str]:
        """What makes poses new, where none is: for no window, or by nothing."""
        return set() if self._poses else {"varied_share", "limbs_share", "bone_turn_deg", "tilt_deg"}
