"""Parameters for reading the 2D keypoints of a detector."""

from enum import StrEnum

from pydantic import Field, model_validator

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters.base import Parameters, Share


class KeypointFormat(StrEnum):
    """Format of a keypoint file; `auto` detects it from the content."""

    AUTO = "auto"
    ALPHAPOSE = "alphapose"
    OPENPOSE = "openpose"
    MMPOSE = "mmpose"
    MEDIAPIPE = "mediapipe"
    SKELETONS = "skeletons"  # `data` with frames of `skeleton` entries: ST-GCN's Kinetics, GAST-Net
    VIDEOPOSE3D = "videopose3d"
    TRC = "trc"  # in pixels
    ARRAYS = "arrays"  # .npy, .npz


class VideoDetector(StrEnum):
    """Detector for videos; the version is part of the name and therefore of the digest."""

    MEDIAPIPE = "mediapipe-0.10.14"


class KeypointsParameters(Parameters):
    """Parameters from the 2D keypoints of a detector to tracks of H36M joints."""

    format: KeypointFormat = Field(
        KeypointFormat.AUTO, description="Format of the keypoint file; auto detects it from the content."
    )
    detector: VideoDetector = Field(
        VideoDetector.MEDIAPIPE,
        description="Detector that finds keypoints in a video; no effect on keypoint files.",
    )
    skeleton: Detector | None = Field(
        None, description="Skeleton of the keypoints. Default: detected from their number and arrangement."
    )
    fps: float | None = Field(None, gt=0, le=1000, description="Frames per second if the file contains none.")
    width: int | None = Field(None, ge=1, le=65_536, description="Image width in pixels if the file contains none.")
    height: int | None = Field(None, ge=1, le=65_536, description="Image height in pixels if the file contains none.")
    min_confidence: Share = Field(
        0.05, description="Confidence below which a keypoint counts as missing (OpenPose draws from 0.05)."
    )
    max_gap: int = Field(
        10,
        ge=0,
        le=300,
        description="Longest gap in frames that is interpolated. After a longer gap a person's track ends and a joint"
        " stays missing.",
    )
    min_frames: int = Field(
        10, ge=1, description="Shortest track in frames; shorter tracks are listed in short_tracks.csv."
    )

    @model_validator(mode="after")
    def _width_goes_with_height(self) -> "KeypointsParameters":
        if (self.width is None) != (self.height is None):
            raise ValueError("pass width and height together")
        return self
