"""Parameters of reading a detector's 2D keypoints."""

from enum import StrEnum

from pydantic import Field, model_validator

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters.base import Parameters, Share


class KeypointFormat(StrEnum):
    """Who wrote a file of keypoints; auto: told by its content."""

    AUTO = "auto"
    ALPHAPOSE = "alphapose"
    OPENPOSE = "openpose"
    MMPOSE = "mmpose"
    MEDIAPIPE = "mediapipe"
    SKELETONS = "skeletons"  # `data` of frames with `skeleton`s: ST-GCN's Kinetics, GAST-Net
    VIDEOPOSE3D = "videopose3d"
    TRC = "trc"  # in pixels
    ARRAYS = "arrays"  # .npy, .npz


class VideoDetector(StrEnum):
    """Who finds the keypoints in a video; the version is part of the name, and so of a result's digest."""

    MEDIAPIPE = "mediapipe-0.10.14"


class KeypointsParameters(Parameters):
    """2D keypoints of a detector -> tracks of H36M joints."""

    format: KeypointFormat = Field(KeypointFormat.AUTO, description="Who wrote the file; auto: told by its content.")
    detector: VideoDetector = Field(
        VideoDetector.MEDIAPIPE,
        description="Who finds the keypoints in a video; of no effect on a file of them.",
    )
    skeleton: Detector | None = Field(
        None, description="Names of the keypoints; none: told by how many there are, and by the bodies they make."
    )
    fps: float | None = Field(None, gt=0, le=1000, description="Frames per second, where the file gives none.")
    width: int | None = Field(None, ge=1, le=65_536, description="Of the image, where the file does not say; pixels.")
    height: int | None = Field(None, ge=1, le=65_536, description="Of the image, where the file does not say; pixels.")
    min_confidence: Share = Field(
        0.05, description="A keypoint below it is missing (0.05 is what OpenPose draws from)."
    )
    max_gap: int = Field(
        10,
        ge=0,
        le=300,
        description="A person or joint that is unseen for up to so many frames is interpolated; for more, a person's"
        " track ends there, and a joint stays missing.",
    )
    min_frames: int = Field(10, ge=1, description="Shorter tracks are left out, each named in short_tracks.csv.")

    @model_validator(mode="after")
    def _width_goes_with_height(self) -> "KeypointsParameters":
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height are given together")
        return self
