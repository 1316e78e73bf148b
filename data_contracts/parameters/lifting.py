"""Parameters of the stages keypoints and lift: from the 2D keypoints of a detector to 3D motion."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters.base import NO_RESULT, Parameters, Share
from data_contracts.skeleton import JOINTS


class KeypointFormat(StrEnum):
    """Format of a keypoint file; `auto` detects it from the content."""

    AUTO = "auto"
    ALPHAPOSE = "alphapose"
    OPENPOSE = "openpose"
    MMPOSE = "mmpose"
    MEDIAPIPE = "mediapipe"
    COCO = "coco"  # annotations with images and categories
    ULTRALYTICS = "ultralytics"  # labels of `save_txt`, `to_json`
    FRAMES = "frames"  # JSON or JSON lines of frames with people
    TABLE = "table"  # CSV
    SKELETONS = "skeletons"  # `data` with frames of `skeleton` entries: ST-GCN's Kinetics, GAST-Net
    VIDEOPOSE3D = "videopose3d"
    TRC = "trc"  # in pixels
    ARRAYS = "arrays"  # .npy, .npz


class VideoDetector(StrEnum):
    """Detector for videos; the version is part of the name and therefore of the digest."""

    MEDIAPIPE = "mediapipe-0.10.14"


class KeypointsParameters(Parameters):
    """Conversion of a detector's 2D keypoints to tracks of H36M joints."""

    format: KeypointFormat = Field(KeypointFormat.AUTO, description="Format of the keypoint file; auto detects it.")
    detector: VideoDetector = Field(VideoDetector.MEDIAPIPE, description="Detector that finds keypoints in a video.")
    skeleton: Detector | None = Field(None, description="Skeleton of the keypoints. Default: detected from the file.")
    fps: float | None = Field(None, gt=0, le=1000, description="Frames per second if the file contains none.")
    width: int | None = Field(None, ge=1, le=65_536, description="Image width in pixels if the file contains none.")
    height: int | None = Field(None, ge=1, le=65_536, description="Image height in pixels if the file contains none.")
    min_confidence: Share = Field(0.05, description="Confidence below which a keypoint is missing (OpenPose: 0.05).")
    max_gap: int = Field(
        10,
        ge=0,
        le=300,
        description="Longest gap in frames that is interpolated; a longer gap of a person ends the track.",
    )
    min_frames: int = Field(10, ge=1, description="Shortest track in frames; short_tracks.csv lists shorter tracks.")

    @model_validator(mode="after")
    def _width_goes_with_height(self) -> "KeypointsParameters":
        if (self.width is None) != (self.height is None):
            raise ValueError(f"width is {self.width} and height is {self.height}: pass width and height together")
        return self


class ExportFormat(StrEnum):
    """Export format; the value is the file extension. docs/keypoints.md describes the contents."""

    NPZ = "npz"
    JSON = "json"
    CSV = "csv"
    TRC = "trc"  # OpenSim's markers
    C3D = "c3d"  # biomechanics' markers; needs the extra `exports`
    BVH = "bvh"
    GLB = "glb"
    GIF = "gif"


class SmoothingParameters(Parameters):
    """Zero-lag low-pass filter over time: Butterworth, forward and backward (Winter, Biomechanics, section 3.4)."""

    cutoff_hz: float = Field(3.0, gt=0, le=100, description="Cutoff frequency of the poses; faster motion is noise.")
    order: int = Field(2, ge=1, le=3, description="Order of the filter; two passes double the roll-off.")
    depth_cutoff_hz: float = Field(0.5, gt=0, le=100, description="Cutoff frequency of the distance from the camera.")


class OneEuroParameters(Parameters):
    """One-euro filter of causal lifting (Casiez et al., CHI 2012)."""

    min_cutoff_hz: float = Field(
        3.0, gt=0, le=100, description="Cutoff frequency of a joint at rest; less reduces jitter."
    )
    beta: float = Field(1.0, ge=0, description="Increase of the cutoff with speed, Hz per m/s; more reduces lag.")


class LiftParameters(Parameters):
    """Lifting of keypoint tracks to motion in metres."""

    stride: int | None = Field(None, ge=1, description="Frames between window starts. Default: a third of a window.")
    flip: bool | None = Field(None, description="Average with the mirrored window. Default: as in the evaluation.")
    height: float | None = Field(None, gt=0.3, le=2.8, description="Body height in metres. Default: 1.70 ± 0.10.")
    bones: dict[str, Annotated[float, Field(ge=0.01, le=1.5)]] = Field(
        default_factory=dict,
        description="Measured bone lengths in metres, by joint at the far end (left_knee: thigh); override height.",
    )
    root: bool = Field(True, description="Estimate the path of the person; otherwise the pelvis stays in place.")
    camera: Literal["auto", "perspective", "weak"] = Field(
        "auto", description="Camera model of the root; auto tries perspective, then weak perspective."
    )
    fov_deg: float = Field(60.0, gt=1, lt=170, description="Field of view along the longer side of the image.")
    focal_px: float | None = Field(None, gt=1, le=1e6, description="Focal length in pixels; overrides fov_deg.")
    pitch_deg: float | None = Field(None, ge=-89, le=89, description="Downward camera pitch. Default: an estimate.")
    floor: bool = Field(True, description="Put the floor at z = 0; otherwise the camera is at z = 0.")
    fit: bool = Field(
        True,
        description="Fit bones, foot contact, floor, pitch and roll for all people of a video together; slower.",
    )
    rigid: bool = Field(True, description="Keep bone lengths constant over a track, and equal left and right.")
    smoothing: SmoothingParameters | None = Field(
        SmoothingParameters(), description="Low-pass filter over time; null turns it off. No effect if causal."
    )
    causal: bool = Field(False, description="Lift each frame from earlier frames only, as in live use; slower.")
    one_euro: OneEuroParameters | None = Field(
        OneEuroParameters(), description="Causal filter over time, used if causal; null turns it off."
    )
    person: str = Field("all", description="People to lift: all, longest, largest in the image, or a track's number.")
    batch_size: Annotated[int, NO_RESULT] = Field(256, ge=1, description="Windows per batch.")

    def idle(self) -> set[str]:
        return {"smoothing", "stride", "rigid", "fit"} if self.causal else {"one_euro"}

    @field_validator("bones")
    @classmethod
    def _bones_have_names(cls, bones: dict[str, float]) -> dict[str, float]:
        if unknown := set(bones) - set(JOINTS[1:]):
            raise ValueError(f"unknown bones {sorted(unknown)}; the bones are {', '.join(JOINTS[1:])}")
        return bones

    @model_validator(mode="after")
    def _person_is_one_of_these(self) -> "LiftParameters":
        if self.person not in ("all", "longest", "largest") and not self.person.isdecimal():
            raise ValueError(f"person {self.person!r}: pass all, longest, largest, or the number of a track")
        return self
