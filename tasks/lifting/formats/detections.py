"""What every format of keypoints comes to: people in frames, and what is known of video, skeleton and tracks.

Notable decisions:
- what a reader hands over is checked here, once for all formats: numbers that are finite and in bounds, frames that are
  numbered, confidences brought to [0, 1] by what the format is known to write (`_SCALES`), and refused beyond that;
- a keypoint is missing where its confidence is 0 (or below `min_confidence`), its coordinates are NaN in an array, or
  0, 0 to the last digit, where detectors put what they did not find (Ultralytics did so, and kept its confidence);
- an id in a file names a person, unless all of the file has one id and it stands twice in a frame: AlphaPose writes
  idx 0 for everybody when it does not track;
- coordinates are pixels. Those that lie within [-4, 4] are shares of the image (MediaPipe), and need its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.skeleton import BONES, JOINTS
from data_contracts.tracks.table import MOST_PIXELS

MOST_FRAME = 10**9  # the number of a frame
MOST_PEOPLE = 200  # in a frame
_OF_IMAGE = 4.0  # coordinates up to this are shares of the image, with what lies beyond its edges
_WHOLE_BODY = 133  # COCO-WholeBody: the first 17 are COCO's
_DECIDED = 1.5  # so many times worse the next best skeleton must be
_LEG, _ARM = (0.13, 0.45, 0.44), (0.15, 0.28, 0.25)
_BONES_M = np.array([*_LEG, *_LEG, 0.24, 0.25, 0.12, 0.12, *_ARM, *_ARM])  # of an adult, in the order of `BONES`

# Format -> (up to this, it is in [0, 1] and what overshoots is 1; else up to this, it is so many times too large).
# Heatmaps overshoot a little (1.07 in a file of AlphaPose); AlphaPose's old COCO scores run to about 6; the scores of
# MMPose's SimCC heads (RTMPose, RTMW) are no probabilities, and 1 is certain.
_SCALES = {
    KeypointFormat.ALPHAPOSE: (1.5, 10.0, 6.0),
    KeypointFormat.MMPOSE: (20.0, 20.0, 1.0),
}
_SCALE = (1.5, 1.5, 1.0)


@dataclass(frozen=True)
class Detections:
    """People as a detector found them in one video; n of them.

    Attributes
    ----------
    source
        What errors call it: the file, and its part where it has several.
    format
        Who wrote it.
    frame
        (n,) integers: the number of the frame, as the file counts.
    points
        (n, K, 2) x right, y down.
    confidence
        (n, K) as the file has it; 0 or NaN: missing.
    person
        (n,) integers: the detector's ids; none where it has none.
    skeleton
        None where the file does not say.
    video
        "" where the file is of one video.
    fps, width, height
        Where the file gives them.
    """

    source: str
    format: KeypointFormat
    frame: np.ndarray
    points: np.ndarray
    confidence: np.ndarray
    person: np.ndarray | None = None
    skeleton: Detector | None = None
    video: str = ""
    fps: float | None = None
    width: int | None = None
    height: int | None = None


def settle(given: Detections, parameters: KeypointsParameters) -> tuple[Detections, list[str]]:
    """Checked, in pixels, with confidences in [0, 1] (0 and no coordinates: missing) and a skeleton; with warnings.

    Rows come in the order of their frames.

    Raises
    ------
    InputError
        A number is none or out of bounds, a frame has a person twice, or skeleton or image size are not known.
    """
    warnings: list[str] = []
    if not len(given.frame):
        raise InputError(f"{given.source}: nobody is seen in it: no frame has a person")
    _check_frames(given)
    order = np.argsort(given.frame, kind="stable")
    person = None if given.person is None else given.person[order]
    given = replace(
        given, frame=given.frame[order], points=given.points[order], confidence=given.confidence[order], person=person
    )
    confidence, said = _confidence(given)
    warnings += said
    seen = (np.float32(confidence) > 0) & (confidence >= parameters.min_confidence)
    seen &= ~np.isnan(given.points).any(axis=-1) & (given.points != 0).any(axis=-1)
    _check_points(given, seen)
    given = replace(
        given,
        points=np.where(seen[..., None], given.points, 0.0),
        confidence=np.where(seen, confidence, 0.0),
        person=_person(given, warnings),
        fps=given.fps or parameters.fps,
        width=given.width or parameters.width,
        height=given.height or parameters.height,
    )
    if given.points.shape[1] == _WHOLE_BODY:
        given = replace(given, points=given.points[:, :17], confidence=given.confidence[:, :17])
    given = _in_pixels(given)
    given = replace(given, skeleton=_skeleton(given, parameters.skeleton))
    _check_joints(given)
    return given, warnings


def fault(given: Detections, row: int, what: str) -> InputError:
    """The error that names file, frame and what is wrong there."""
    return InputError(f"{given.source}: frame {given.frame[row]}: {what}")


def _check_frames(given: Detections) -> None:
    for row in np.flatnonzero((given.frame < 0) | (given.frame > MOST_FRAME))[:1]:
        raise InputError(f"{given.source}: frame {given.frame[row]}: frames are numbered from 0 to {MOST_FRAME}")
    frames, people = np.unique(given.frame, return_counts=True)
    if people.max() > MOST_PEOPLE:
        most = frames[people.argmax()]
        raise InputError(f"{given.source}: frame {most}: has {people.max()} people; up to {MOST_PEOPLE} are read")


def _check_points(given: Detections, seen: np.ndarray) -> None:
    far = seen & ~(np.abs(given.points) <= MOST_PIXELS).all(axis=-1)
    far |= np.isinf(given.points).any(axis=-1)  # wherever it is: no detector writes it
    for row, keypoint in np.argwhere(far)[:1]:
        x, y = given.points[row, keypoint]
        raise fault(given, row, f"keypoint {keypoint}: x, y = {x:g}, {y:g}; they may reach {MOST_PIXELS:g} pixels")


def _check_joints(given: Detections) -> None:
    """Some derive from beyond a keypoint, and shares of an image become pixels: both may lead beyond the contract."""
    assert given.skeleton is not None, "it is settled"
    joints, _ = SKELETONS[given.skeleton].to_h36m(given.points, given.confidence)
    for row, joint in np.argwhere((np.abs(joints) > MOST_PIXELS).any(axis=-1))[:1]:
        x, y = joints[row, joint]
        raise fault(
            given, row, f"{JOINTS[joint]} derives to x, y = {x:g}, {y:g}; they may reach {MOST_PIXELS:g} pixels"
        )


def _confidence(given: Detections) -> tuple[np.ndarray, list[str]]:
    confidence = np.nan_to_num(given.confidence, nan=0.0, posinf=np.inf, neginf=-np.inf)
    plain, most, divisor = _SCALES.get(given.format, _SCALE)
    for row, keypoint in np.argwhere((confidence < -0.5) | (confidence > most))[:1]:
        value = confidence[row, keypoint]
        raise fault(given, row, f"keypoint {keypoint}: confidence {value:g}; {given.format}'s lie in [0, {most:g}]")
    if confidence.max(initial=0) <= plain:
        return np.clip(confidence, 0, 1), []
    said = f"{given.source}: confidences reach {confidence.max():.3g}; they were divided by {divisor:g}"
    return np.clip(confidence / divisor, 0, 1), [said]


def _person(given: Detections, warnings: list[str]) -> np.ndarray | None:
    """The ids, if they tell people apart; rows are in the order of frames."""
    if given.person is None or (given.person < 0).all():
        return None
    order = np.lexsort((given.person, given.frame))
    frame, person = given.frame[order], given.person[order]
    twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(person) == 0))
    if not len(twice):
        return given.person
    if (given.person == given.person[0]).all():
        warnings.append(f"{given.source}: everybody has id {person[0]}: people are told apart by pose and motion")
        return None
    raise fault(given, order[twice[0]], f"has person {person[twice[0]]} twice")


def _in_pixels(given: Detections) -> Detections:
    seen = given.points[given.confidence > 0]
    if not len(seen) or np.abs(seen).max() > _OF_IMAGE:
        return given
    if given.width is None or given.height is None:
        raise InputError(
            f"{given.source}: its coordinates are shares of the image ({seen.min():.3g} to {seen.max():.3g}), not"
            " pixels: pass --set keypoints.width=... --set keypoints.height=..."
        )
    if seen.min() < -0.75:
        raise InputError(
            f"{given.source}: its coordinates ({seen.min():.3g} to {seen.max():.3g}) are normalised, and not to"
            " [0, 1] of the image; give them in pixels"
        )
    return replace(given, points=given.points * (given.width, given.height))


def _skeleton(given: Detections, wanted: Detector | None) -> Detector:
    """The one that is wanted, or said by the file, or of as many keypoints; of several, that which makes a body."""
    count = given.points.shape[1]
    fitting = [name for name, skeleton in SKELETONS.items() if len(skeleton.keypoints) == count]
    for name, by in ((wanted, "asked for"), (given.skeleton, "what the file says")):
        if name is not None:
            if name not in fitting:
                keypoints = len(SKELETONS[name].keypoints)
                raise InputError(f"{given.source}: has {count} keypoints a person; {name}, {by}, has {keypoints}")
            return name
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        known = ", ".join(f"{name} ({len(skeleton.keypoints)})" for name, skeleton in SKELETONS.items())
        raise InputError(f"{given.source}: has {count} keypoints a person; these are known: {known}")
    distortion = _distortions(given, fitting)
    best, second = sorted(fitting, key=distortion.__getitem__)[:2]
    if not distortion[second] > _DECIDED * distortion[best]:
        raise InputError(
            f"{given.source}: its {count} keypoints may be {' or '.join(fitting)}; pass --skeleton, one of them"
        )
    return best


def _distortions(given: Detections, names: Sequence[Detector]) -> dict[Detector, float]:
    """How far the bones are from a body's proportions under each skeleton: mean |log| of their median lengths."""
    rows = np.linspace(0, len(given.points) - 1, min(len(given.points), 500)).astype(int)
    parents, children = np.array(BONES).T
    distortions = {}
    for name in names:
        joints, confidence = SKELETONS[name].to_h36m(given.points[rows], given.confidence[rows])
        both = (confidence[:, parents] > 0) & (confidence[:, children] > 0)
        lengths = np.linalg.norm(joints[:, parents] - joints[:, children], axis=-1)
        medians = [
            np.median(lengths[both[:, bone], bone]) if both[:, bone].any() else 0.0 for bone in range(len(BONES))
        ]
        off = np.log(np.maximum(medians, 1e-3) / _BONES_M)[np.array(medians) > 0]
        distortions[name] = float(np.abs(off - np.median(off)).mean()) if len(off) else np.inf
    return distortions


def known_number(path: Path, name: str, value: object) -> float | None:
    """`fps`, `width` or `height` of a file; none where it has none.

    Raises
    ------
    InputError
        It is no number, or out of bounds.
    """
    if value is None:
        return None
    least, most = (1e-3, 1000) if name == "fps" else (1, 65_536)
    array = np.asarray(value) if isinstance(value, int | float | np.ndarray | np.number) else np.empty(0)
    number = float(array.item()) if array.size == 1 and array.dtype.kind in "iuf" else float("nan")
    if not least <= number <= most:
        raise InputError(f"{path}: {name}: is no number from {least:g} to {most}")
    return number


def extent(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(n,) diagonal of the box around what is seen of (n, K, 2) points; 0 where nothing is."""
    seen = confidence[..., None] > 0
    low = np.where(seen, points, np.inf).min(axis=1)
    high = np.where(seen, points, -np.inf).max(axis=1)
    box = np.where(np.isfinite(low), high - low, 0.0)
    return np.asarray(np.hypot(box[:, 0], box[:, 1]))


def as_rows(rows: list[object], source: str, names: Sequence[object], field: str) -> np.ndarray:
    """Lists of numbers, one of each row's `field`, as float64 (n, ...); `names` say which frame a row is of.

    Raises
    ------
    InputError
        A row is no list of numbers, or not as long as the others.
    """
    array = _numbers(rows)
    if array is not None and array.ndim >= 2:
        return array
    first = _numbers(rows[0]) if rows else None
    for row, name in zip(rows, names, strict=True):
        one = _numbers(row)
        if one is None or one.ndim < 1:
            raise InputError(f"{source}: frame {name}: {field}: no list of numbers, but {_shown(row)}")
        if first is not None and one.shape != first.shape:
            shapes = f"{'x'.join(map(str, one.shape))} numbers, and {'x'.join(map(str, first.shape))} in the first"
            raise InputError(f"{source}: frame {name}: {field}: has {shapes}")
    raise InputError(f"{source}: {field}: these are no numbers; frames {some(names)}")


def _numbers(values: object) -> np.ndarray | None:
    try:
        array = np.array(values)
    except (ValueError, OverflowError, RecursionError):  # ragged, or too deep
        return None
    if array.dtype.kind not in "iuf":
        return None
    flat: Any = values
    for _ in range(array.ndim - 1):
        flat = chain.from_iterable(flat)
    return None if array.ndim and bool in set(map(type, flat)) else array.astype(np.float64)  # numpy takes true for 1


def _shown(value: object) -> str:
    text = type(value).__name__ if isinstance(value, list | dict) else repr(value)
    return ascii(text[:50])[1:-1]
