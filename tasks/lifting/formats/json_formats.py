"""Read JSON by image: AlphaPose, COCO and OpenPose. Each reader returns None if the JSON has another format.

- AlphaPose and COCO: a list of `{"image_id": "12.jpg", "keypoints": [x, y, score, ...], "idx": 3}`, one entry per
  person (AlphaPose, docs/output.md; COCO, keypoint results).
- COCO's annotations, as CVAT, Label Studio and Roboflow export them: `images` (id, file_name, width, height),
  `annotations` (image_id, keypoints) and `categories` with the names of the keypoints. The third number of a keypoint
  is 2 (visible), 1 (hidden) or 0 (not labelled).
- OpenPose: one file per frame, `{"people": [{"pose_keypoints_2d": [x, y, c, ...], "person_id": [-1]}]}`. The file name
  has the number of the frame (OpenPose, doc/02_output.md).
- AlphaPose's `--format open` writes OpenPose's frames in the folder `sep-json`, and one dict of all frames by image
  name. `--format cmu` writes `{"bodies": [{"joints": [...]}]}` (alphapose/utils/pPose_nms.py, `write_json`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, rate_and_size
from tasks.lifting.formats.json_frames import in_order_of_skeleton, read_frames
from tasks.lifting.formats.json_text import Person, detections_of, whole_number
from tasks.lifting.formats.names import frame_numbers

_BODIES = {"people": "pose_keypoints_2d", "bodies": "joints"}
_COCO18, _COCO17 = (SKELETONS[name].keypoints for name in (Detector.COCO18, Detector.COCO17))
_WITHOUT_NECK = [_COCO18.index(name) for name in _COCO17]
_IDS = ("idx", "track_id")


def read_openpose(path: Path, tree: Any) -> Detections | None:
    """Return the people of one frame of OpenPose, or None if the JSON has another format."""
    if not is_body_frame(tree):
        return None
    return read_body_frames(path, [(path.name, str(path), tree)], KeypointFormat.OPENPOSE)


def read_alphapose(path: Path, tree: Any) -> Detections | None:
    """Return the people of AlphaPose's JSON (a list, a dict by image name, or one frame) or of COCO results.

    COCO results are a list, or a dict with `annotations` but without `images`. Return None for another format.
    """
    if is_body_frame(tree):
        return read_body_frames(path, [(path.name, str(path), tree)], KeypointFormat.ALPHAPOSE)
    if isinstance(tree, dict) and is_body_frame(next(iter(tree.values()), None)):
        frames = [(name, f"{path}: image {name[:60]!a}", frame) for name, frame in tree.items()]
        return read_body_frames(path, frames, KeypointFormat.ALPHAPOSE)
    if isinstance(tree, dict) and "images" not in tree and isinstance(tree.get("annotations"), list):
        tree = tree["annotations"]
    is_list = isinstance(tree, list) and bool(tree) and isinstance(tree[0], dict)
    if not (is_list and {"image_id", "keypoints"} <= {*tree[0]}):
        return None
    entries = [_fields(f"{path}: entry {place}", entry, "image_id", "keypoints") for place, entry in enumerate(tree)]
    numbers = frame_numbers(path, [image for image, _ in entries])
    people = (
        Person(f"{path}: image {str(image)[:60]!a}", number, points, id=_id(entry))
        for (image, points), number, entry in zip(entries, numbers, tree, strict=True)
        if points is not None and points != []
    )
    return detections_of(path, KeypointFormat.ALPHAPOSE, people)


def read_coco(path: Path, tree: Any) -> Detections | None:
    """Return the people of COCO's annotations, or None for another format; entries without keypoints are ignored."""
    if not isinstance(tree, dict) or not {"images", "annotations"} <= {*tree}:
        return None
    parts = {name: tree.get(name) or [] for name in ("images", "annotations", "categories")}
    for name, part in parts.items():
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise InputError(f"{path}: {name}: expected a list of objects")
    images = {_integer(f"{path}: images", image, "id"): image for image in parts["images"]}
    files = [image.get("file_name") for image in images.values()]
    are_named = all(isinstance(file, str) for file in files) and len({*files}) == len(files)
    numbers = dict(zip(images, frame_numbers(path, files if are_named else [*images]), strict=True))
    sizes = [rate_and_size(path, image) for image in images.values()]
    if any(size != sizes[0] for size in sizes):
        raise InputError(f"{path}: the images have different sizes; pass the images of one video")
    keypoints = [entry["keypoints"] for entry in parts["categories"] if isinstance(entry.get("keypoints"), list)]

    def people() -> Iterator[Person]:
        for place, entry in enumerate(parts["annotations"]):
            if entry.get("keypoints"):
                source = f"{path}: annotation {place}"
                image = _integer(source, entry, "image_id")
                if image not in numbers:
                    raise InputError(f"{source}: image_id: {image} is not the id of one of the images")
                yield Person(source, numbers[image], entry["keypoints"], id=_id(entry))

    detections = detections_of(path, KeypointFormat.COCO, people())
    names = [*map(str, keypoints[0])] if keypoints else [*_COCO17]
    return replace(in_order_of_skeleton(detections, names), **sizes[0])


READERS = {
    KeypointFormat.OPENPOSE: read_openpose,
    KeypointFormat.ALPHAPOSE: read_alphapose,
    KeypointFormat.COCO: read_coco,
    KeypointFormat.FRAMES: read_frames,
}


def is_body_frame(tree: Any) -> bool:
    """Return whether a JSON is a frame of OpenPose or AlphaPose, by the fields of its first person."""
    if not isinstance(tree, dict):
        return False
    people = next((tree[name] for name in _BODIES if isinstance(tree.get(name), list)), None)
    fields = {*_BODIES.values()}
    return people is not None and all(not isinstance(person, dict) or bool(fields & {*person}) for person in people[:1])


def read_body_frames(path: Path, frames: Sequence[tuple[str, str, Any]], format: KeypointFormat) -> Detections:
    """Return the people of `frames`: tuples of name with the frame number, name for errors, and JSON.

    AlphaPose's 18 keypoints are COCO's 17 and a computed neck, which is dropped: it is the middle of the shoulders or,
    for Halpe-26 and whole bodies, has a wrong index (top of the head or a toe).
    """
    numbers = frame_numbers(path, [name for name, _, _ in frames])
    by_alphapose = format is KeypointFormat.ALPHAPOSE or any(_is_alphapose_frame(tree) for _, _, tree in frames)
    format = KeypointFormat.ALPHAPOSE if by_alphapose else KeypointFormat.OPENPOSE

    def people() -> Iterator[Person]:
        for (_, source, tree), number in zip(frames, numbers, strict=True):
            field = next((name for name in _BODIES if isinstance(tree, dict) and isinstance(tree.get(name), list)), "")
            if not field:
                raise InputError(f"{source}: expected a field people (OpenPose) or bodies (AlphaPose) with a list")
            for place, person in enumerate(tree[field]):
                (points,) = _fields(f"{source}: {field}: entry {place}", person, _BODIES[field])
                if points != []:  # a person of whom only the hands or the face were found
                    yield Person(source, number, points, id=person.get("person_id"))

    detections = detections_of(path, format, people())
    if not by_alphapose or detections.points.shape[1] != len(_COCO18):
        return detections
    points, confidence = detections.points[:, _WITHOUT_NECK], detections.confidence[:, _WITHOUT_NECK]
    return replace(detections, points=points, confidence=confidence, skeleton=Detector.COCO17)


def _fields(source: str, entry: Any, *names: str) -> list[Any]:
    if not isinstance(entry, dict) or not {*names} <= {*entry}:
        raise InputError(f"{source}: expected an object with {' and '.join(names)}")
    return [entry[name] for name in names]


def _integer(source: str, entry: dict[str, Any], name: str) -> int:
    number = whole_number(entry.get(name))
    if number is None:
        raise InputError(f"{source}: {name}: expected an integer, found {ascii(entry.get(name))[:50]}")
    return number


def _id(entry: dict[str, Any]) -> Any:
    """Return the id of a person: AlphaPose's `idx`, or `track_id`, which CVAT writes in `attributes`."""
    attributes = entry.get("attributes")
    inside = attributes if isinstance(attributes, dict) else {}
    return next((values[name] for values in (entry, inside) for name in _IDS if values.get(name) is not None), None)


def _is_alphapose_frame(tree: Any) -> bool:
    return isinstance(tree, dict) and ("bodies" in tree or str(tree.get("version")).startswith("AlphaPose"))
