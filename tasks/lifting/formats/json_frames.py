"""Read JSON with the people of each frame, for any detector; tables of field names identify the fields.

- The file is a list of frames, JSON lines, a dict with this list, a dict of frames by number or image, or one frame.
- A frame is null, a list of people, a dict with people, or the keypoints of one person or of several.
- The keypoints of a person are numbers (x, y, score; x, y and separate scores; x, y, z, visibility), dicts with x and
  y (MediaPipe, MoveNet), one list for each axis (Ultralytics), or a dict by the names of the keypoints.

Writers: MMPose 1.x (mmpose/apis/inferencers, demo/topdown_demo_with_mmdet.py), ST-GCN's Kinetics and GAST-Net,
MediaPipe and rtmlib as users save their results, Ultralytics (`to_json`, engine/results.py), MoveNet (tfjs-models),
easy_ViTPose (inference.py: frames of people by id, y before x, and names in `skeleton`), Apple Vision (dicts by the
names of its joints; shares of the image with y up).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, rate_and_size
from tasks.lifting.formats.json_text import Person, detections_of, first_of, is_points, is_row, listed, whole_number
from tasks.lifting.formats.names import arranged, frame_numbers, is_y_up, keypoint_name, skeleton_of_names

FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx", "frame_num", "frame_no")
IMAGE = ("image", "image_name", "image_path", "file_name", "filename", "img_name")
ID = ("track_id", "person_id", "tracking_id", "idx", "person")
VISIBILITY = ("visibility", "v", "score", "confidence", "visible", "likelihood", "conf", "probability")
POINTS = (
    *("keypoints", "pose", "pose_keypoints_2d", "landmarks", "pose_landmarks", "poseLandmarks", "landmark"),
    *("keypoints_2d", "kpts", "keypoint", "joints", "recognizedPoints", "recognized_points", "pred_keypoints"),
)
_LISTS_OF_FRAMES = ("frames", "instance_info", "data", "results", "predictions")
_PEOPLE = (
    *("instances", "skeleton", "people", "persons", "poses", "detections", "predictions", "results", "objects"),
    "observations",
)
_SCORES = (
    *("keypoint_scores", "keypoints_scores", "scores", "keypoint_confidences", "keypoint_confidence", "keypoint_conf"),
    *("keypoints_confidences", "keypoints_confidence", "keypoints_conf", "confidences", *VISIBILITY),
)
_ONE_IMAGE = ("keypoint_scores", "bbox", "box")  # only people have these fields; a list of people is one image
_TWO_PEOPLE = "; if the entries are people of one frame, add person_id to each"
_MEDIAPIPE = len(SKELETONS[Detector.MEDIAPIPE33].keypoints)


class _Raw(NamedTuple):
    """One person in one frame, as in the file."""

    source: str
    frame: int
    points: Any
    scores: Any
    id: Any


def read_frames(path: Path, tree: Any) -> Detections | None:
    """Return the people of the frames, or None if the JSON contains no frames with keypoints."""
    images, frames = _frames_of(tree)
    if not _is_frame(next((frame for frame in frames if frame), None)):
        return None
    numbers = _numbers(path, images, frames)
    named = [(number, f"{path}: frame {number}", frame) for number, frame in zip(numbers, frames, strict=True)]
    about = rate_and_size(path, tree) if isinstance(tree, dict) else {}
    detections = replace(read_numbered(path, named, tree), **about)
    is_y_first = isinstance(tree, dict) and isinstance(tree.get("skeleton"), dict)  # easy_ViTPose: y, x, score
    return replace(detections, points=detections.points[..., ::-1]) if is_y_first else detections


def read_numbered(path: Path, frames: Sequence[tuple[int, str, Any]], tree: Any = None) -> Detections:
    """Return the people of `frames`: tuples of number, name for errors, and JSON; `tree` has the header, if any."""
    raw = [person for number, source, frame in frames for person in _people(source, number, frame)]
    names = _names(tree, raw)
    people = (Person(one.source, one.frame, _points(one, names), one.scores, one.id) for one in raw)
    detections = detections_of(path, _format([frame for _, _, frame in frames], raw), people)
    count = detections.points.shape[1]
    if count == _MEDIAPIPE:
        return replace(detections, format=KeypointFormat.MEDIAPIPE, skeleton=Detector.MEDIAPIPE33)
    if detections.format is KeypointFormat.ULTRALYTICS and count == len(SKELETONS[Detector.COCO17].keypoints):
        return replace(detections, skeleton=Detector.COCO17)
    return in_order_of_skeleton(detections, names)


def in_order_of_skeleton(detections: Detections, names: Sequence[str]) -> Detections:
    """Return the keypoints, which have these `names`, in the order of the skeleton; unchanged if it is unknown."""
    found = skeleton_of_names(names) if len(names) == detections.points.shape[1] else None
    if found is None:
        return detections
    skeleton, keypoints = found
    points = arranged(detections.points, names, keypoints)
    confidence = arranged(detections.confidence, names, keypoints)
    if is_y_up(names):  # shares of the image
        points[..., 1] = 1 - points[..., 1]
    return replace(detections, points=points, confidence=confidence, skeleton=skeleton)


def is_one_image(tree: Any) -> bool:
    """Return whether a JSON has the people of one image, as in MMPose's folder of one file per image."""
    images, frames = _frames_of(tree)
    return len(frames) == 1 and not images and _is_frame(frames[0])


def frame_of(tree: Any) -> Any:
    """Return the frame inside a JSON with one image; return any other JSON unchanged."""
    return _frames_of(tree)[1][0] if is_one_image(tree) else tree


def _frames_of(tree: Any) -> tuple[list[Any], list[Any]]:
    """Return the image names (empty if frames are not a dict by name) and the frames of a JSON."""
    if isinstance(tree, list):
        entry = next((entry for entry in tree if entry is not None), None)
        of_one = first_of(entry, _ONE_IMAGE) is not None and first_of(entry, POINTS) is not None
        of_one = of_one and first_of(entry, (*FRAME, *IMAGE)) is None
        return [], [tree] if is_points(tree) or of_one else tree
    if not isinstance(tree, dict):
        return [], []
    if (frames := first_of(tree, _LISTS_OF_FRAMES, list)) is not None:
        return [], _frames_of(frames)[1]
    entries = first_of(tree, _PEOPLE, list)
    if entries and all(first_of(entry, (*FRAME, *IMAGE)) is not None for entry in entries):
        return [], entries
    points = first_of(tree, POINTS, list)
    if points and not is_points(points) and isinstance(points[0], list | dict | None):
        scores = first_of(tree, _SCORES, list)
        if scores is None or len(scores) != len(points):
            return [], points
        return [], [{"keypoints": person, "scores": score} for person, score in zip(points, scores, strict=True)]
    if _is_frame(tree) and not _is_by_id(tree):
        return [], [tree]
    is_by_name = all(any(map(str.isdigit, name)) for name in tree) and all(map(_is_frame, filter(None, tree.values())))
    return ([*tree], [*tree.values()]) if is_by_name else ([], [])


def _numbers(path: Path, images: list[Any], frames: list[Any]) -> list[int]:
    """Return the number of each frame: from the frame, from the name of its image, or its position in the list."""
    if not images:
        named = [first_of(frame, (*FRAME, *IMAGE), str) for frame in frames]
        images = named if frames and None not in named else []
    if images and whole_number(first_of(frames[0], FRAME)) is None:
        return frame_numbers(path, images)
    numbers: list[int] = []
    seen: set[int] = set()
    for place, frame in enumerate(frames):
        field = next((name for name in FRAME if isinstance(frame, dict) and name in frame), None)
        number = place if field is None else whole_number(frame[field])
        if number is None:
            raise InputError(f"{path}: entry {place} of the frames: expected an integer as {field}")
        if number in seen and first_of(frame, (*ID, *_ONE_IMAGE)) is None:
            raise InputError(f"{path}: frame {number}: occurs twice in the list of frames{_TWO_PEOPLE}")
        seen.add(number)
        numbers.append(number)
    return numbers


def _people(source: str, number: int, frame: Any) -> Iterator[_Raw]:
    """Yield the people of a frame."""
    frame = listed(frame)
    if frame is None or frame == []:
        return
    if isinstance(frame, list):
        for person in [frame] if is_points(frame) else frame:
            if isinstance(person, dict) and not _is_named(person):
                yield from _people(source, number, person)
            else:
                yield _Raw(source, number, person, None, None)
        return
    if not isinstance(frame, dict):
        raise InputError(f"{source}: expected a list of people, not a {type(frame).__name__}")
    people = next((name for name in _PEOPLE if name in frame), None)
    if people is not None:
        is_columns = first_of(frame[people], POINTS) is not None  # Detectron2
        if not (isinstance(frame[people], list) or _is_by_id(frame[people]) or is_columns):
            raise InputError(f"{source}: expected a list of {people}")
        yield from _people(source, number, frame[people])
        return
    points, scores = first_of(frame, POINTS), first_of(frame, _SCORES, list)
    points = points if (inner := first_of(points, POINTS, list)) is None else inner  # protobuf of MediaPipe
    scores = None if "pred_keypoints" in frame else scores  # Detectron2's scores are those of boxes
    if _is_by_id(frame):
        for name, person in frame.items():
            yield from (one._replace(id=int(name)) for one in _people(source, number, [person]))
    elif points is None and _is_named(frame):
        yield _Raw(source, number, frame, None, None)
    elif points is None and first_of(frame, (*FRAME, *IMAGE)) is None and not {*POINTS} & {*frame}:
        raise InputError(f"{source}: expected an object with {' or '.join(POINTS[:4])}")
    elif isinstance(points, list) and points and is_points(points[0]):
        if scores is not None and len(scores) != len(points):
            raise InputError(f"{source}: has keypoints of {len(points)} people, but scores of {len(scores)}")
        for place, person in enumerate(points):
            yield _Raw(source, number, person, None if scores is None else scores[place], None)
    elif points is not None and points != []:
        yield _Raw(source, number, points, scores, first_of(frame, ID))


def _points(person: _Raw, names: Sequence[str]) -> Any:
    """Return the keypoints of a person as lists of numbers; keypoints with names are in the order of `names`."""
    points = listed(person.points)
    if isinstance(points, dict) and isinstance(points.get("x"), list):
        columns = [points["x"], points.get("y"), first_of(points, VISIBILITY)]
        columns = columns if isinstance(columns[2], list) else columns[:2]
        if any(not isinstance(column, list) or len(column) != len(columns[0]) for column in columns):
            raise InputError(f"{person.source}: keypoints: expected lists of equal length for x, y and scores")
        return [list(row) for row in zip(*columns, strict=True)]
    if isinstance(points, list) and points and all(isinstance(point, dict | None) for point in points) and names:
        points = {str(_name_in(point)): point for point in points if point}
    points = [points.get(name) for name in names] if isinstance(points, dict) else points
    if not isinstance(points, list):
        return points
    if any(_is_numbered(points, first) for first in (0, 1)):
        points = [row and row[1:] for row in points]  # id, x, y
    is_z = len(points) == _MEDIAPIPE and any(is_row(point, 3) and point[2] and point[2] < 0 for point in points)
    return [_row(person.source, point, is_z) for point in points] if is_points(points) else points


def _is_numbered(points: list[Any], first: int) -> bool:
    """Return whether each point is null or a list that begins with its number; numbers count up from `first`."""
    rows = [(number, row) for number, row in enumerate(points, first) if row is not None]
    return all(isinstance(row, list) and row[:1] == [number] and len(row) > 2 for number, row in rows)


def _row(source: str, point: Any, is_z: bool) -> Any:
    """Return x, y and score of one keypoint; with `is_z`, the third of three numbers is a depth."""
    if point is None:
        return [None, None, 0.0]
    if isinstance(point, dict):
        point = {**point, **point["position"]} if isinstance(point.get("position"), dict) else point
        if not {"x", "y"} <= {*point}:
            raise InputError(f"{source}: landmarks: expected x and y of each landmark")
        return [point["x"], point["y"], next((point[name] for name in VISIBILITY if name in point), 1.0)]
    if is_row(point, 4):
        return [point[0], point[1], point[3]]
    if is_z and is_row(point, 3):
        return [point[0], point[1], 1.0]
    return [*point, 1.0] if is_row(point, 2) else point


def _names(tree: Any, raw: Sequence[_Raw]) -> list[str]:
    """Return the names of keypoints: those of the header, then further names in the order of first occurrence."""
    meta = tree.get("meta_info") if isinstance(tree, dict) else None
    header = meta.get("keypoint_id2name") if isinstance(meta, dict) else first_of(tree, ("skeleton",), dict)
    names: dict[str, None] = dict.fromkeys(map(str, header.values())) if isinstance(header, dict) else {}
    for person in raw:
        points = person.points
        if isinstance(points, dict) and _is_named(points):
            names |= dict.fromkeys(points)
        elif isinstance(points, list) and points and isinstance(points[0], dict):
            names |= {name: None for point in points if (name := _name_in(point)) is not None}
    return [*names]


def _name_in(point: Any) -> str | None:
    name = first_of(point, ("name", "part", "keypoint", "class"), str)
    return name if name is not None and keypoint_name(name) else None


def _format(frames: Sequence[Any], raw: Sequence[_Raw]) -> KeypointFormat:
    fields = {name for frame in [*frames[:1], *[frame for frame in frames if frame][:1]] for name in _keys(frame)}
    if fields & {"instances", "keypoint_scores"}:
        return KeypointFormat.MMPOSE
    if "skeleton" in fields:
        return KeypointFormat.SKELETONS
    is_columns = bool(raw) and isinstance(raw[0].points, dict) and isinstance(raw[0].points.get("x"), list)
    return KeypointFormat.ULTRALYTICS if is_columns else KeypointFormat.FRAMES


def _keys(frame: Any) -> list[str]:
    frame = frame[0] if isinstance(frame, list) and frame else frame
    return [*frame] if isinstance(frame, dict) else []


def _is_frame(frame: Any) -> bool:
    """Return whether a value is a frame: people, or the keypoints of one or several people."""
    if isinstance(frame, list):
        person = next((person for person in frame if person), None)
        return is_points(frame) or is_points(person) or (isinstance(person, dict) and _is_frame(person))
    is_entry = isinstance(frame, dict) and "image_id" not in frame
    return is_entry and (
        any(name in frame for name in (*_PEOPLE, *POINTS))
        or _is_named(frame)
        or _is_by_id(frame)
        or listed(frame) is not frame
    )


def _is_named(person: dict[str, Any]) -> bool:
    """Return whether most keys of a dict are names of keypoints."""
    return sum(keypoint_name(name) is not None for name in person) >= min(8, len(person)) > 1


def _is_by_id(people: Any) -> bool:
    """Return whether a value is a dict of people by id, e.g. {"1": ..., "2": ...}."""
    is_by_number = isinstance(people, dict) and all(name.isdecimal() and len(name) < 10 for name in people)
    return is_by_number and bool(people) and listed(people) is people
