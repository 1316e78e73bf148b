"""Interpret names: the frame number in the name of an image, and keypoints and skeletons in any spelling."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from tasks.lifting.formats.detections import MOST_FRAME
from tasks.lifting.formats.json_text import whole_number

_DIGITS = re.compile(r"\d{1,18}")
_ADDED = re.compile(r"[._-]rf\.[0-9A-Za-z]+$|^[0-9a-f]{8}-")  # Roboflow adds a hash at the end, Label Studio before
_LEAST_OF_TIME = 16  # smallest difference of the times of two images, milliseconds
_MOST_STEP = 1000  # frames between two images that were sampled from a video
_MOST_NAME = 300  # characters of a name that are searched for numbers


def name_pattern(name: str) -> str:
    """Return only the letters of a file name; they are equal for the images of one video."""
    return re.sub(r"[^a-z]", "", _stem(name).lower())


def frame_numbers(source: object, images: Sequence[object]) -> list[int]:
    """Return the frame number of each image; `images` are integers or names with numbers.

    - Names with the same letters: the number that counts up from image to image; of several, the one with the smallest
      span. If no number counts up (timestamps), images are numbered from 0 in the order of their numbers.
    - Names with different letters: the last number of each name.
    - Names without numbers: the position in the list.

    Equal numbers of two images raise an InputError.
    """
    numbers: dict[int | str, int] = {}
    names: list[str] = []
    for image in images:
        number = whole_number(image)
        if number is None and not isinstance(image, str):
            raise InputError(f"{source}: image_id: expected a number or a name, not a {type(image).__name__}")
        if number is not None:
            numbers[number] = number
        elif isinstance(image, str) and image not in numbers:
            numbers[image] = -1
            names.append(image)
    numbers |= _numbers_of(names)
    if names and len(names) == len(numbers) and set(numbers.values()) == {-1}:
        numbers = {name: place for place, name in enumerate(names)}
    first: dict[int, int | str] = {}
    for image, number in numbers.items():
        if first.setdefault(number, image) != image:
            same = " and ".join(ascii(str(name)[:60]) for name in (first[number], image))
            raise InputError(f"{source}: image_id: {same} have the same frame number; number the images uniquely")
    return [numbers[image] for image in images]  # type: ignore[index]


def _stem(name: str) -> str:
    """Return the last part of a path without its ending; digits after a dot are not an ending."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1][-_MOST_NAME:]
    return _ADDED.sub("", re.sub(r"\.[A-Za-z]\w*$", "", last))


def _numbers_of(names: Sequence[str]) -> dict[int | str, int]:
    """Return the frame number of each name, or -1 if the name has no number."""
    stems = [_stem(name) for name in names]
    parts = [[int(digits) for digits in _DIGITS.findall(stem)] for stem in stems]
    chosen = [part[-1] if part else -1 for part in parts]
    if len(names) > 1 and len({name_pattern(name) for name in names}) == 1:
        longest = max(range(len(names)), key=lambda row: len(parts[row]))
        places = range(len(parts[longest]))
        columns = [[part[place] if place < len(part) else -1 for part in parts] for place in places]
        varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
        order = sorted(range(len(names)), key=parts.__getitem__)
        counting = [column for column in columns if _counts_up([column[row] for row in order])]
        if counting:
            chosen = min(counting, key=lambda column: max(column) - min(column))
        elif varying and not _has_label(stems[longest], varying[0]) and len(set(map(tuple, parts))) == len(names):
            rank = {row: place for place, row in enumerate(order)}
            chosen = [rank[row] for row in range(len(names))]
    return dict(zip(names, chosen, strict=True))


def _counts_up(numbers: Sequence[int]) -> bool:
    """Return whether sorted numbers are frame numbers; times have large or irregular steps."""
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    if min(steps) <= 0 or numbers[0] < 0 or numbers[-1] > MOST_FRAME:
        return False
    is_regular = all(step % min(steps) == 0 for step in steps)
    return min(steps) < _LEAST_OF_TIME or (is_regular and min(steps) < _MOST_STEP)


def _has_label(stem: str, place: int) -> bool:
    """Return whether the number at index `place` belongs to a label, as in `cam1_0001`, and not to a time."""
    start = list(_DIGITS.finditer(stem))[place].start()
    before = stem[max(0, start - 1) : start]
    return before.isalpha() and before not in "Tt"


_BY_NAME = (Detector.HALPE26, Detector.COCO17, Detector.BODY25, Detector.H36M17)  # preferred first, if several fit
_LIMBS = {f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "shoulder")}


def _spellings(name: str) -> list[str]:
    """Return spellings of a name without separators: leftknee, kneeleft, lknee, kneel."""
    side, _, part = name.partition("_")
    if side not in ("left", "right"):
        return [name.replace("_", "")]
    part = part.replace("_", "")
    return [side + part, part + side, side[0] + part, part + side[0]]


_APPLE = {"shoulder1": "shoulder", "forearm": "elbow", "hand": "wrist", "upleg": "hip", "leg": "knee", "foot": "ankle"}
_APPLE |= {"eye": "eye", "ear": "ear"}
_NAMES: Mapping[str, str] = {
    **{
        spelling: name
        for skeleton in SKELETONS.values()
        for name in skeleton.keypoints
        if not name[-1].isdigit()
        for spelling in _spellings(name)
    },
    **{"chip": "mid_hip", "hip": "mid_hip", "headtop": "head", "topofhead": "head"},
    **{"root": "pelvis", "rightfoot": "right_ankle", "leftfoot": "left_ankle", "neckbase": "nose"},  # MMPose's H36M
    **{"headjoint": "nose", "neck1joint": "neck"},
    **{f"{side}{part}joint": f"{side}_{name}" for side in ("left", "right") for part, name in _APPLE.items()},
}


def keypoint_name(text: str) -> str | None:
    """Return the keypoint that `text` names in any spelling (`LShoulder`, `PoseLandmark.LEFT_SHOULDER`), or None."""
    plain = re.sub(r"[^a-z0-9]", "", text[:100].lower())
    return _NAMES.get(plain) or _NAMES.get(re.sub(r"^(pose|body)?(landmark|keypoint|joint|kp)?", "", plain))


def is_y_up(names: Iterable[str]) -> bool:
    """Return whether these are the keypoints of Apple Vision (`left_forearm_joint`), whose y points up."""
    return any(name.endswith("_joint") and keypoint_name(name) for name in names)


def skeleton_of_names(names: Iterable[str]) -> tuple[Detector, list[str]] | None:
    """Return the skeleton with keypoints of these names, and for each of its keypoints the entry of `names`.

    An absent keypoint has the entry "". The names must be all keypoints of the skeleton, or contain each keypoint that
    a joint is derived from, or contain the limbs of COCO-17 (joints of the head are then missing). Otherwise return
    None.
    """
    known = {keypoint: name for name in names if (keypoint := keypoint_name(name)) is not None}
    exact = [skeleton for skeleton, about in SKELETONS.items() if {*about.keypoints} == {*known}]
    complete = [skeleton for skeleton in _BY_NAME if _used(skeleton) <= {*known}]
    found = [*exact, *complete, *([Detector.COCO17] if {*known} >= _LIMBS else [])]
    return (found[0], [known.get(keypoint, "") for keypoint in SKELETONS[found[0]].keypoints]) if found else None


def arranged(values: np.ndarray, names: Sequence[str], keypoints: Sequence[str]) -> np.ndarray:
    """Reorder `values` (n, names, ...) to the order of `keypoints`; an absent keypoint ("") is NaN."""
    places = {name: place for place, name in enumerate(names)}
    result = np.full((len(values), len(keypoints), *values.shape[2:]), np.nan)
    for keypoint, name in enumerate(keypoints):
        if name:
            result[:, keypoint] = values[:, places[name]]
    return result


def _used(skeleton: Detector) -> set[str]:
    """Return the keypoints of a skeleton from which joints are derived."""
    return {SKELETONS[skeleton].keypoints[index] for index in np.flatnonzero(SKELETONS[skeleton].weights.any(axis=0))}
