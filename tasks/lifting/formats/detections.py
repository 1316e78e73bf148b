"""Check and normalise the detections of all keypoint formats: people in frames, in pixels, with a known skeleton.

- Numbers must be finite and in bounds. Confidences are scaled to [0, 1] by the known scale of the format. A
  keypoint is missing if its confidence is 0 or below `min_confidence`, or its coordinates are NaN, 0, 0 or -1, -1.
  Detectors write 0, 0 or -1, -1 for undetected keypoints (Ultralytics wrote 0, 0 with the confidence).
- Each id is one person. If all people have the same id, and a frame has two people, ids are ignored. AlphaPose
  writes idx 0 for all people if it does not track.
- Coordinates are pixels. If all coordinates are within [-4, 4], they are fractions of the image size (MediaPipe).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.other_files import kind_of_skeleton
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.skeleton import JOINTS
from data_contracts.tracks.table import MOST_PIXELS
from tasks.lifting.formats.skeletons import DECIDED, USUAL, choose_skeleton

MOST_FRAME = 10**9  # largest frame number
MOST_PEOPLE = 200  # largest number of people in a frame
_LARGEST_SHARE = 4.0  # largest coordinate if coordinates are shares of the image; keypoints may be outside
_MOST = 0.8  # smallest share of people with an unusual direction of the trunk, for a warning
_CENTRED_M = 0.01  # largest median offset of the middle of the hips in world landmarks
# Number of keypoints of a whole body -> skeleton of its first keypoints: COCO-WholeBody, OpenPose's BODY_135
WHOLE_BODIES = {133: Detector.COCO17, 135: Detector.BODY25B}
_BOUNDS = {"fps": (float, 1e-3, 1000), "width": (int, 1, 65_536), "height": (int, 1, 65_536)}
SKELETON_FITTED = "best fit"  # beginning of `Detections.skeleton_from` if the skeleton was identified from the poses

_CUT = 1.5  # confidences up to this are cut at 1 without a warning: heatmaps reach 1.07 (AlphaPose)
_LARGEST = 20.0  # largest confidence; SimCC scores (RTMPose, RTMW) are not probabilities, and 1 means certain
_DIVISORS = {KeypointFormat.ALPHAPOSE: 6.0}  # AlphaPose's old COCO scores reach about 6
# Formats whose scores may be COCO's visibilities: 2 (visible), 1 (hidden) and 0 (not labelled)
_VISIBILITIES = (KeypointFormat.ALPHAPOSE, KeypointFormat.COCO, KeypointFormat.ULTRALYTICS)


@dataclass(frozen=True)
class Detections:
    """Detections of one video: n rows, each one person in one frame. Values that are not in the file are None."""

    source: str  # name in errors: the file, and the part of the file if it has several
    format: KeypointFormat
    frame: np.ndarray  # (n,) integers: frame numbers of the file
    points: np.ndarray  # (n, K, 2) x right, y down
    confidence: np.ndarray  # (n, K) scores of the file; 0 or NaN if missing
    person: np.ndarray | None = None  # (n,) integers: the detector's ids
    skeleton: Detector | None = None
    video: str = ""  # empty if the file has only one
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    skeleton_from: str = ""


def normalise(detections: Detections, parameters: KeypointsParameters) -> tuple[Detections, list[str]]:
    """Return checked detections in pixels with a skeleton, sorted by frame, and warnings.

    Confidences are in [0, 1]. Missing keypoints have confidence 0 and coordinates 0, 0. A value out of bounds, no
    detected keypoint, an id that is twice in a frame, or an unknown skeleton or image size raises an InputError.
    """
    warnings: list[str] = []
    count = detections.points.shape[1]
    if count not in {*WHOLE_BODIES, *(len(skeleton.keypoints) for skeleton in SKELETONS.values())}:
        raise InputError(f"{detections.source}: {unknown_skeleton(count)}")
    detections = _in_order(detections)
    confidence = _confidence(detections, warnings)
    refuse_unseen(detections.source, confidence, parameters.min_confidence)
    seen = (np.float32(confidence) > 0) & (confidence >= parameters.min_confidence)
    seen &= ~np.isnan(detections.points).any(axis=-1)
    seen &= (detections.points != 0).any(axis=-1) & (detections.points != -1).any(axis=-1)
    far = seen & ~(np.abs(detections.points) <= MOST_PIXELS).all(axis=-1)
    far |= np.isinf(detections.points).any(axis=-1)  # also in missing keypoints: detectors do not write it
    _refuse_far(detections, detections.points, far, [f"keypoint {number}" for number in range(seen.shape[1])])
    body = WHOLE_BODIES.get(count)
    used = len(SKELETONS[body].keypoints) if body else None
    detections = replace(
        detections,
        points=np.where(seen[..., None], detections.points, 0.0)[:, :used],
        confidence=np.where(seen, confidence, 0.0)[:, :used],
        person=_person(detections, warnings),
        skeleton=body or detections.skeleton,
        fps=detections.fps or parameters.fps,
        width=detections.width or parameters.width,
        height=detections.height or parameters.height,
    )
    detections = _in_pixels(detections)
    skeleton, skeleton_from = _skeleton(detections, parameters.skeleton)
    joints, seen = SKELETONS[skeleton].to_h36m(detections.points, detections.confidence)  # farther out than keypoints
    far = (np.abs(joints) > MOST_PIXELS).any(axis=-1)
    _refuse_far(detections, joints, far, [f"{joint} (derived)" for joint in JOINTS])
    warnings += [f"{detections.source}: {doubt}" for doubt in _doubts_of_axes(joints, seen)]
    return replace(detections, skeleton=skeleton, skeleton_from=skeleton_from), warnings


def _doubts_of_axes(joints: np.ndarray, confidence: np.ndarray) -> list[str]:
    """Return a text if most people are upside down or lie: the axes of the file may differ."""
    ends = [JOINTS.index("thorax"), JOINTS.index("pelvis")]
    trunk = np.diff(joints[:, ends], axis=1)[(confidence[:, ends] > 0).all(axis=1), 0]
    aside, down = np.abs(trunk[:, 0]), trunk[:, 1]
    if _MOST * len(trunk) < (-down > aside).sum():
        return ["people are upside down in most frames; if y points up in the file, convert it to y down"]
    if _MOST * len(trunk) < (aside > 2 * np.abs(down)).sum():
        return ["people lie in most frames; if y comes before x in the file (MoveNet), exchange them"]
    return []


def refuse_unseen(source: str, confidence: np.ndarray, min_confidence: float = 0.0) -> None:
    """Raise an InputError if no keypoint counts as detected."""
    largest = float(confidence.max(initial=0))
    if largest <= 0:
        raise InputError(
            f"{source}: all confidences are 0, so no keypoint counts as detected; if the detector writes no"
            " confidences, set them to 1"
        )
    if largest < min_confidence:
        raise InputError(
            f"{source}: all confidences are below keypoints.min_confidence={min_confidence:g}, the largest is"
            f" {largest:.3g}; pass a lower --set keypoints.min_confidence=..."
        )


def rate_and_size(
    path: Path, values: Mapping[str, Any], names: Sequence[str] = ("fps", "width", "height")
) -> dict[str, Any]:
    """Return `fps`, `width` and `height` from the keys `names` of `values`; None if missing, InputError if invalid."""
    known: dict[str, Any] = {}
    for (field, (kind, lowest, highest)), name in zip(_BOUNDS.items(), names, strict=True):
        value = values.get(name)
        array = np.asarray(value) if isinstance(value, int | float | np.ndarray | np.number) else np.empty(0)
        number = float(array.item()) if array.size == 1 and array.dtype.kind in "iuf" else float("nan")
        if value is not None and not lowest <= number <= highest:
            raise InputError(f"{path}: {name}: expected a number from {lowest:g} to {highest}, not {ascii(value)[:50]}")
        known[field] = None if value is None else kind(number)
    return known


def _fault(detections: Detections, row: int, problem: str) -> InputError:
    return InputError(f"{detections.source}: frame {detections.frame[row]}: {problem}")


def _in_order(detections: Detections) -> Detections:
    if not len(detections.frame):
        raise InputError(f"{detections.source}: contains no people: no frame has a person")
    for row in np.flatnonzero((detections.frame < 0) | (detections.frame > MOST_FRAME))[:1]:
        raise _fault(detections, row, f"frame numbers must be 0 to {MOST_FRAME}")
    order = np.argsort(detections.frame, kind="stable")
    _, rows, people = np.unique(detections.frame, return_index=True, return_counts=True)
    if people.max() > MOST_PEOPLE:
        raise _fault(detections, rows[people.argmax()], f"has {people.max()} people, at most {MOST_PEOPLE} are allowed")
    return replace(
        detections,
        frame=detections.frame[order],
        points=detections.points[order],
        confidence=detections.confidence[order],
        person=None if detections.person is None else detections.person[order],
    )


def _refuse_far(detections: Detections, points: np.ndarray, far: np.ndarray, names: Sequence[str]) -> None:
    """Raise an InputError for the first of `points` (n, K, 2) where `far` (n, K) is true; `names` has K names."""
    for row, point in np.argwhere(far)[:1]:
        x, y = points[row, point]
        raise _fault(detections, row, f"{names[point]}: x, y = {x:g}, {y:g}; the limit is {MOST_PIXELS:g} pixels")


def _confidence(detections: Detections, warnings: list[str]) -> np.ndarray:
    """Return the confidences, scaled to [0, 1] by the scale of the format."""
    confidence = np.nan_to_num(detections.confidence, nan=0.0, posinf=np.inf, neginf=-np.inf)
    confidence = np.where(confidence == -1, 0.0, confidence)  # a missing keypoint is -1, -1, -1 in some files
    for row, keypoint in np.argwhere((confidence < -0.5) | (confidence > _LARGEST))[:1]:
        value = confidence[row, keypoint]
        hint = ""
        if detections.format is KeypointFormat.ARRAYS:
            hint = "; the third number of a keypoint must be a confidence, not a coordinate of 3D motion"
        raise _fault(
            detections,
            row,
            f"keypoint {keypoint}: confidence {value:g}; the format {detections.format} has 0 to {_LARGEST:g}{hint}",
        )
    largest = confidence.max(initial=0)
    if largest <= _CUT:
        return np.clip(confidence, 0, 1)
    if largest == 2 and detections.format in _VISIBILITIES and np.isin(confidence, (0, 1, 2)).all():
        return confidence / 2
    divisor = _DIVISORS.get(detections.format, 1.0)
    change = "cut at 1" if divisor == 1 else f"divided by {divisor:g}"
    warnings.append(f"{detections.source}: confidences up to {largest:.3g} were {change}")
    return np.clip(confidence / divisor, 0, 1)


def _person(detections: Detections, warnings: list[str]) -> np.ndarray | None:
    """Return the person ids (n,), or None if the ids do not distinguish people; rows are sorted by frame."""
    if detections.person is None:
        return None
    order = np.lexsort((detections.person, detections.frame))
    frame, person = detections.frame[order], detections.person[order]
    twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(person) == 0))
    if not len(twice):
        return detections.person
    if (detections.person == detections.person[0]).all():
        warnings.append(f"{detections.source}: all people have id {person[0]}; people are tracked by pose and motion")
        return None
    raise _fault(detections, order[twice[0]], f"id {person[twice[0]]} occurs twice; correct or remove the ids")


def _in_pixels(detections: Detections) -> Detections:
    seen = detections.points[detections.confidence > 0]
    if not len(seen) or np.abs(seen).max() > _LARGEST_SHARE:
        return detections
    if _is_centred(detections):
        raise InputError(
            f"{detections.source}: the origin is between the hips, as in world landmarks of MediaPipe (metres), which"
            " are 3D and have no place in the image; write pose_landmarks instead of pose_world_landmarks"
        )
    if detections.width is None or detections.height is None:
        raise InputError(
            f"{detections.source}: coordinates are fractions of the image size ({seen.min():.3g} to {seen.max():.3g}),"
            " not pixels; pass --set keypoints.width=... --set keypoints.height=..."
        )
    if seen.min() < -0.75:
        raise InputError(
            f"{detections.source}: coordinates ({seen.min():.3g} to {seen.max():.3g}) are normalised, but not to"
            " [0, 1] of the image; convert them to pixels"
        )
    return replace(detections, points=detections.points * (detections.width, detections.height))


def _is_centred(detections: Detections) -> bool:
    """Return whether the origin is between the hips in most rows, for any skeleton with this number of keypoints."""
    for skeleton in SKELETONS.values():
        if len(skeleton.keypoints) == detections.points.shape[1]:
            hips = [skeleton.keypoints.index("left_hip"), skeleton.keypoints.index("right_hip")]
            seen = (detections.confidence[:, hips] > 0).all(axis=1)
            middles = np.abs(detections.points[seen][:, hips].mean(axis=1))
            if len(middles) and float(np.median(middles.max(axis=-1))) < _CENTRED_M:
                return True
    return False


def _skeleton(detections: Detections, requested: Detector | None) -> tuple[Detector, str]:
    """Return the skeleton and its source: requested, named in the file, the number of keypoints, or the best fit."""
    count = detections.points.shape[1]
    fitting = [name for name, skeleton in SKELETONS.items() if len(skeleton.keypoints) == count]
    for name, origin in ((requested, "requested"), (detections.skeleton, "named in the file")):
        if name is not None:
            if name not in fitting:
                keypoints = len(SKELETONS[name].keypoints)
                raise InputError(
                    f"{detections.source}: has {count} keypoints per person, but skeleton {name} ({origin}) has"
                    f" {keypoints}; pass --skeleton {' or '.join(fitting)}"
                )
            return name, origin
    if len(fitting) == 1:
        return fitting[0], f"the only skeleton with {count} keypoints"
    choice = choose_skeleton(detections.points, detections.confidence, fitting, detections.format)
    if choice.factor < DECIDED and choice.best is USUAL.get(detections.format):
        return choice.best, f"usual in {detections.format}; the poses do not identify it"
    if choice.factor < DECIDED:
        raise InputError(
            f"{detections.source}: the skeleton of {count} keypoints is ambiguous: {choice.best} fits only"
            f" {choice.factor:.2f} times better than {choice.second}; pass --skeleton {' or '.join(fitting)}"
        )
    return choice.best, f"{SKELETON_FITTED}: {choice.factor:.1f} times better than {choice.second}"


def unknown_skeleton(count: int) -> str:
    """Return the text of an error about this number of keypoints, with the remedy."""
    kind = kind_of_skeleton(count)
    known = ", ".join(f"{name} ({len(skeleton.keypoints)})" for name, skeleton in SKELETONS.items())
    needless = "; 3D motion needs no lifting" if kind and "3D motion" in kind else ""
    return (
        f"has {count} keypoints per person{f', as {kind}' if kind else ''}{needless}; known 2D skeletons: {known},"
        " COCO-WholeBody (133) and BODY_135 (135); select and reorder the keypoints to one of these"
    )
