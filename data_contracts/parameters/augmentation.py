"""Parameters of the augmentation of training windows at every step; everything is off by default.

Validation and test windows are never augmented.
"""

from pydantic import Field, model_validator

from data_contracts.parameters.base import Parameters, Share


class NewCameras(Parameters):
    """A new camera for every window at every step: upright, any yaw, aimed near the window's pelvis.

    The projection is that of the stored window, unless `perspective_share` is set.
    """

    max_pitch_deg: float = Field(15.0, ge=0, lt=90, description="Pitch of a new camera is uniform in [-max, max].")
    perspective_share: Share | None = Field(
        None, description="Share of windows with a perspective camera. Default: the projection of each stored window."
    )
    nearest_m: float = Field(
        3.0, ge=2, le=100, description="Smallest distance of a perspective camera from the window's nearest pelvis."
    )
    farthest_m: float = Field(
        6.0, ge=2, le=100, description="Largest distance of a perspective camera from the window's nearest pelvis."
    )
    max_off_axis_deg: float = Field(
        10.0, ge=0, le=45, description="Largest angle between a perspective camera's axis and the window's pelvis."
    )

    @model_validator(mode="after")
    def _distances_are_in_order(self) -> "NewCameras":
        if self.nearest_m > self.farthest_m:
            raise ValueError(f"nearest_m {self.nearest_m:g} is above farthest_m {self.farthest_m:g}")
        return self

    def idle(self) -> set[str]:
        """Return the fields of perspective cameras if `perspective_share` is 0."""
        return {"nearest_m", "farthest_m", "max_off_axis_deg"} if self.perspective_share == 0 else set()


class NewBodies(Parameters):
    """New body proportions for every window at every step: one factor per bone, equal for left and right."""

    shortest: float = Field(0.85, ge=0.5, le=1, description="Smallest factor of a bone's length.")
    longest: float = Field(1.15, ge=1, le=1.5, description="Largest factor of a bone's length.")


class AugmentationParameters(Parameters):
    """Augmentation of training windows at every step, before corruption.

    The order is limbs, turned bones, bodies, lean, cameras. Bodies and cameras apply to every window.
    """

    varied_share: Share = Field(
        1.0, description="Share of windows that limbs_share, bone_turn_deg and tilt_deg change."
    )
    limbs_share: Share = Field(
        0.0, description="Share of windows with the arm motion of another window, and share with its leg motion."
    )
    bone_turn_deg: float = Field(
        0.0, ge=0, le=45, description="Standard deviation of the turn of a bone, except hip bones, about each axis."
    )
    bodies: NewBodies | None = Field(None, description="New body proportions. Default: the subject's own.")
    tilt_deg: float = Field(0.0, ge=0, le=45, description="Standard deviation of a window's lean about level axes.")
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
        """Return the fields of pose augmentation if no pose is augmented."""
        return set() if self._poses else {"varied_share", "limbs_share", "bone_turn_deg", "tilt_deg"}
