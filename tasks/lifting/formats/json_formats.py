"""Read the JSON of detectors. Each reader returns the detections, or None if the JSON has another format.

- AlphaPose and COCO: a list of `{"image_id": "12.jpg", "keypoints": [x, y, score, ...], "idx": 3}`, one entry per
  person (AlphaPose, docs/output.md; COCO, keypoint results).
- OpenPose: one file per frame, `{"people": [{"pose_keypoints_2d": [x, y, c, ...], "person_id": [-1]}]}`. The number of
  a frame is the last number in its file name (OpenPose, doc/02_output.md).
- AlphaPose's `--format open` writes OpenPose's frames in the folder `sep-json`, and one dict of all frames by image
  name. `--format cmu` writes `{"bodies": [{"joints": [...]}]}` (alphapose/utils/pPose_nms.py, `write_json`).
- MMPose 1.x: `[{"frame_id": 0, "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}]`, or the same
  list under `instance_info` next to `meta_info`, or the instances of one image (mmpose/apis/inferencers,
  demo/topdown_demo_with_mmdet.py).
- Skeletons of ST-GCN's Kinetics and GAST-Net: `{"data": [{"frame_index": 1, "skeleton": [{"pose": [x, y, ...],
  "score": [...]}]}]}`.
- MediaPipe's landmarks, as users save them: a list of frames (or a dict with the list in `frames`, `landmarks` or
  `data`, and optionally `fps`, `width` and `height`). A frame is a list of 33 landmarks, a list of people's landmarks,
  a dict with `landmarks` or `pose_landmarks` and optionally `frame`, or null without people. A landmark is
  `{"x": ..., "y": ..., "visibility": ...}` or [x, y, z, visibility]. The landmarks of one image may replace the list.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, rate_and_size
from tasks.lifting.formats.json_text import Person, detections_of, read_json

VISIBILITY = ("visibility", "v", "score", "confidence")
FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx")
_BODIES = {"people": "pose_keypoints_2d", "bodies": "joints"}
_LANDMARKS = ("landmarks", "pose_landmarks", "poseLandmarks", "landmark", "keypoints")
_LANDMARK_COUNT = len(SKELETONS[Detector.MEDIAPIPE33].keypoints)
_COCO18, _COCO17 = (SKELETONS[name].keypoints for name in (Detector.COCO18, Detector.COCO17))
_WITHOUT_NECK = [_COCO18.index(name) for name in _COCO17]
_LAST_NUMBER = re.compile(r"(\d{1,18})\D*$")


def read_folder(path: Path, files: Sequence[Path], format: KeypointFormat) -> Detections:
    """Return the people of a folder with one JSON file per frame, in the format of AlphaPose or OpenPose.

    The format is AlphaPose if `format` is AlphaPose or any frame is in AlphaPose's format; otherwise it is OpenPose.
    """
    trees = zip(files, read_json(files, path), strict=True)
    return _read_frames(path, [(file.name, str(file), tree) for file, tree in trees], format)


def read_openpose(path: Path, tree: Any) -> Detections | None:
    """Return the people of one frame of OpenPose, or None if the JSON has another format."""
    if not _is_body_frame(tree):
        return None
    return _read_frames(path, [(path.name, str(path), tree)], KeypointFormat.OPENPOSE)


def read_alphapose(path: Path, tree: Any) -> Detections | None:
    """Return the people of AlphaPose's JSON (a list, a dict by image name, or one frame) or of COCO's list."""
    if _is_body_frame(tree):
        return _read_frames(path, [(path.name, str(path), tree)], KeypointFormat.ALPHAPOSE)
    if isinstance(tree, dict) and _is_body_frame(next(iter(tree.values()), None)):
        frames = [(name, f"{path}: image {name[:60]!a}", frame) for name, frame in tree.items()]
        return _read_frames(path, frames, KeypointFormat.ALPHAPOSE)
    if not (_first_has(tree, "image_id") and "keypoints" in tree[0]):
        return None
    entries = [_fields(f"{path}: entry {place}", entry, "image_id", "keypoints") for place, entry in enumerate(tree)]
    numbers = _image_numbers(path, [image for image, _ in entries])
    people = (
        Person(f"{path}: image {str(image)[:60]!a}", number, points, id=entry.get("idx"))
        for (image, points), number, entry in zip(entries, numbers, tree, strict=True)
    )
    return detections_of(path, KeypointFormat.ALPHAPOSE, people)


def read_mmpose(path: Path, tree: Any) -> Detections | None:
    """Return the people of MMPose's JSON, or None; the keypoint names in `meta_info` determine the skeleton."""
    frames = tree.get("instance_info") if isinstance(tree, dict) else tree
    if _first_has(frames, "keypoint_scores"):  # instances of one image
        frames = [{"instances": frames}]
    meta = tree.get("meta_info") if isinstance(tree, dict) else None
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    keypoints = tuple(map(str, names.values())) if isinstance(names, dict) else ()
    skeleton = next((name for name, known in SKELETONS.items() if known.keypoints == keypoints), None)
    fields = ("instances", "keypoints", "keypoint_scores")
    return _read_nested(path, KeypointFormat.MMPOSE, frames, fields, skeleton)


def read_skeletons(path: Path, tree: Any) -> Detections | None:
    """Return the people of the JSON of ST-GCN or GAST-Net (frames in `data`), or None."""
    frames = tree.get("data") if isinstance(tree, dict) else None
    return _read_nested(path, KeypointFormat.SKELETONS, frames, ("skeleton", "pose", "score"))


def read_mediapipe(path: Path, tree: Any) -> Detections | None:
    """Return the people of MediaPipe's landmarks in all frames, or None."""
    header = tree if isinstance(tree, dict) else {}
    frames = _first_list(tree, ("frames", "data", *_LANDMARKS)) if header else tree
    if not isinstance(frames, list):
        return None
    if frames and _is_landmark(frames[0]):  # landmarks of one image
        frames = [frames]
    first = next((person for frame in frames if isinstance(frame, list | dict) for person in _landmarks(frame)), None)
    if not _is_body(first):
        return None

    def people() -> Iterator[Person]:
        for number, frame in _numbered(path, frames):
            source = f"{path}: frame {number}"
            if frame is not None and not isinstance(frame, list | dict):
                raise InputError(f"{source}: expected a list of landmarks, not a {type(frame).__name__}")
            for person in _landmarks(frame) if frame else ():
                if not _is_body(person):
                    raise InputError(f"{source}: landmarks: expected {_LANDMARK_COUNT} per person, with x and y")
                yield Person(source, number, [_landmark(landmark) for landmark in person])

    detections = detections_of(path, KeypointFormat.MEDIAPIPE, people(), Detector.MEDIAPIPE33)
    return replace(detections, **rate_and_size(path, header))


READERS = {
    KeypointFormat.OPENPOSE: read_openpose,
    KeypointFormat.ALPHAPOSE: read_alphapose,
    KeypointFormat.MMPOSE: read_mmpose,
    KeypointFormat.SKELETONS: read_skeletons,
    KeypointFormat.MEDIAPIPE: read_mediapipe,
}


def _read_frames(path: Path, frames: Sequence[tuple[str, str, Any]], format: KeypointFormat) -> Detections:
    """Return the people of `frames`: tuples of name with the frame number, name for errors, and JSON.

    AlphaPose's 18 keypoints are COCO's 17 and a computed neck, which is dropped. For COCO's 17 the neck is the middle
    of the shoulders, which this project derives as well. For Halpe-26 and whole bodies AlphaPose's neck has a
    wrong index (top of the head or a toe).
    """
    numbers = _image_numbers(path, [name for name, _, _ in frames])
    by_alphapose = format is KeypointFormat.ALPHAPOSE or any(_is_alphapose_frame(tree) for _, _, tree in frames)
    format = KeypointFormat.ALPHAPOSE if by_alphapose else KeypointFormat.OPENPOSE

    def people() -> Iterator[Person]:
        for (_, source, tree), number in zip(frames, numbers, strict=True):
            if not _is_body_frame(tree):
                raise InputError(f"{source}: expected a list of people, as in OpenPose's frames")
            field = next(name for name in _BODIES if isinstance(tree.get(name), list))
            for person in tree[field]:
                (points,) = _fields(f"{source}: {field}", person, _BODIES[field])
                yield Person(source, number, points, id=person.get("person_id"))

    detections = detections_of(path, format, people())
    if not by_alphapose or detections.points.shape[1] != len(_COCO18):
        return detections
    points, confidence = detections.points[:, _WITHOUT_NECK], detections.confidence[:, _WITHOUT_NECK]
    return replace(detections, points=points, confidence=confidence, skeleton=Detector.COCO17)


def _read_nested(
    path: Path, format: KeypointFormat, frames: Any, fields: tuple[str, str, str], skeleton: Detector | None = None
) -> Detections | None:
    """Return the people of a list of frames; `fields` has the JSON keys of people, points and scores."""
    in_frame, points, scores = fields
    if not _first_has(frames, in_frame):
        return None

    def people() -> Iterator[Person]:
        for number, frame in _numbered(path, frames):
            source = f"{path}: frame {number}"
            if not isinstance(frame, dict) or not isinstance(frame.get(in_frame), list):
                raise InputError(f"{source}: expected a list of {in_frame}")
            for person in frame[in_frame]:
                xy, confidences = _fields(f"{source}: {in_frame}", person, points, scores)
                yield Person(source, number, xy, confidences, person.get("track_id"))

    return detections_of(path, format, people(), skeleton)


def _fields(source: str, entry: Any, *names: str) -> list[Any]:
    if not isinstance(entry, dict) or not {*names} <= {*entry}:
        raise InputError(f"{source}: expected an entry with {' and '.join(names)}")
    return [entry[name] for name in names]


def _first_has(entries: Any, field: str) -> bool:
    """Return whether this is a list whose first entry is a dict with a field."""
    return isinstance(entries, list) and bool(entries) and isinstance(entries[0], dict) and field in entries[0]


def _first_list(tree: dict[str, Any], names: Sequence[str]) -> list[Any] | None:
    return next((tree[name] for name in names if isinstance(tree.get(name), list)), None)


def _is_body_frame(tree: Any) -> bool:
    return isinstance(tree, dict) and any(isinstance(tree.get(name), list) for name in _BODIES)


def _is_alphapose_frame(tree: Any) -> bool:
    return isinstance(tree, dict) and ("bodies" in tree or str(tree.get("version")).startswith("AlphaPose"))


def _landmarks(frame: list[Any] | dict[str, Any]) -> list[Any]:
    people = (_first_list(frame, _LANDMARKS) or []) if isinstance(frame, dict) else frame
    return [people] if people and _is_landmark(people[0]) else people


def _is_body(person: Any) -> bool:
    return isinstance(person, list) and len(person) == _LANDMARK_COUNT and all(map(_is_landmark, person))


def _is_landmark(value: Any) -> bool:
    if isinstance(value, dict):
        return "x" in value and "y" in value
    return isinstance(value, list) and len(value) == 4 and not isinstance(value[0], list | dict)


def _landmark(landmark: Any) -> list[Any]:
    if isinstance(landmark, list):
        return [landmark[0], landmark[1], landmark[3]]
    return [landmark["x"], landmark["y"], next((landmark[name] for name in VISIBILITY if name in landmark), 1.0)]


def _numbered(path: Path, frames: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yield the number and content of each frame; a frame without a number has its index in the list."""
    seen: set[int] = set()
    for place, frame in enumerate(frames):
        number = next((frame[name] for name in FRAME if name in frame), place) if isinstance(frame, dict) else place
        if type(number) is not int:
            raise InputError(f"{path}: entry {place} of the frames: expected an integer as frame number")
        if number in seen:
            raise InputError(f"{path}: frame {number}: occurs twice in the list of frames")
        seen.add(number)
        yield number, frame


def _image_numbers(path: Path, images: list[Any]) -> list[int]:
    """Return a number for each image: an integer `image_id`, the last number in a name, or the index in the list."""
    numbers: dict[int | str, int] = {}
    for image in images:
        if isinstance(image, bool) or not isinstance(image, int | str):
            raise InputError(f"{path}: image_id: expected a number or a name, not a {type(image).__name__}")
        if image not in numbers:
            match = _LAST_NUMBER.search(Path(image).stem) if isinstance(image, str) else None
            numbers[image] = image if isinstance(image, int) else int(match.group(1)) if match else -1
    if all(isinstance(image, str) and number == -1 for image, number in numbers.items()):
        numbers = {image: place for place, image in enumerate(numbers)}
    first: dict[int, int | str] = {}
    for image, number in numbers.items():
        if first.setdefault(number, image) != image:
            names = " and ".join(ascii(str(name)[:60]) for name in (first[number], image))
            raise InputError(f"{path}: image_id: {names} have the same frame number; number the images uniquely")
    return [numbers[image] for image in images]
