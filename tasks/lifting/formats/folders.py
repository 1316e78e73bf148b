"""Find and read keypoint folders: one file for each frame, or one for each video.

- A JSON for each frame: a frame of OpenPose or AlphaPose, or one image in a format of `json_frames`.
- A text file for each frame, as Ultralytics writes with `save_txt` (engine/results.py). A line is a person: class, box
  (4 numbers), x and y (and score) of each keypoint, and optionally the score of the box and an id. Coordinates are
  shares of the image. Frames without people have no file.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointFormat
from data_contracts.sources import KEYPOINT_ENDINGS, KeypointSource, find_keypoints
from tasks.lifting.formats.detections import MOST_PEOPLE, Detections
from tasks.lifting.formats.json_formats import is_body_frame, read_body_frames
from tasks.lifting.formats.json_frames import frame_of, is_one_image, read_numbered
from tasks.lifting.formats.json_text import MOST_BYTES, Person, detections_of, read_json
from tasks.lifting.formats.names import frame_numbers, name_pattern

_MOST_FRAME_BYTES = 4 * 2**20  # of a file with one frame
_MOST_LABELS = MOST_PEOPLE * 2**13  # bytes of a text file with one frame
_SAMPLED = 100  # files that are read to decide whether the files of a folder are frames
_BOX = 5  # numbers of a label before the keypoints: class and box


def find_keypoint_files(folder: str | Path) -> dict[str, KeypointSource] | None:
    """Return the keypoint sources in a folder by unique names; None if `folder` has none or is one source itself.

    A folder is one source if most of its JSON or text files have one frame each. Otherwise its sources are all files
    with a known extension and all folders of frames or, if it has neither, all videos.
    """
    path = Path(folder)
    if not path.is_dir() or _is_frames(path):
        return None
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    kept = [entry for entry in entries if _is_frames(entry) or (entry.is_file() and entry.suffix in KEYPOINT_ENDINGS)]
    kept = kept or [entry for entry in entries if entry.is_file() and find_keypoints(entry).is_video]
    stems, whole = [entry.stem if entry.is_file() else entry.name for entry in kept], {entry.name for entry in kept}
    names = [
        stem if stems.count(stem) == 1 and (stem == entry.name or stem not in whole) else entry.name
        for stem, entry in zip(stems, kept, strict=True)
    ]
    return {name: find_keypoints(entry) for name, entry in zip(names, kept, strict=True)} or None


def read_folder(path: Path, files: Sequence[Path], format: KeypointFormat) -> tuple[Detections, list[str]]:
    """Return the people of a folder with one file per frame, and warnings.

    A file that is not a frame is ignored if its name differs from those of the frames; else an InputError is raised.
    """
    if files[0].suffix == ".txt":
        return _read_labels(path, files)
    trees = dict(zip(files, read_json(files, path), strict=True))
    frames = _frames_of(trees, {file for file, tree in trees.items() if _is_frame(tree)})
    ignored = [file.name for file in files if file not in frames]
    warnings = [f"{path}: {some(ignored)}: ignored, because frames have other names and contents"] if ignored else []
    if any(is_body_frame(trees[file]) for file in frames) or not any(is_one_image(trees[file]) for file in frames):
        return read_body_frames(path, [(file.name, str(file), trees[file]) for file in frames], format), warnings
    numbers = frame_numbers(path, [file.name for file in frames])
    numbered = [(number, str(file), frame_of(trees[file])) for number, file in zip(numbers, frames, strict=True)]
    return read_numbered(path, numbered), warnings


def read_label(path: Path) -> Detections:
    """Return the people of one text file of Ultralytics."""
    return _read_labels(path, [path])[0]


def is_label(start: bytes) -> bool:
    """Return whether the first line of a text has only numbers, enough for a box and keypoints."""
    fields = start.split(b"\n")[0].split()
    return len(fields) > _BOX + 2 and all(field.strip(b"+-.0123456789e") == b"" for field in fields)


def _frames_of(files: Sequence[Path] | dict[Path, Any], found: set[Path]) -> list[Path]:
    """Return the files that are frames: those `found` by content, and files named like most of these."""
    patterns = Counter(name_pattern(file.name) for file in files if file in found)
    pattern = patterns.most_common(1)[0][0] if patterns else None
    return [file for file in files if file in found or pattern is None or name_pattern(file.name) == pattern]


def _is_frame(tree: Any) -> bool:
    return is_body_frame(tree) or is_one_image(tree)


def _is_frames(folder: Path) -> bool:
    """Return whether most keypoint files of a folder (JSON, or text files if it has no JSON) have one frame each."""
    if not folder.is_dir():
        return False
    try:
        files = find_keypoints(folder).files
    except InputError:
        return False
    sample = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, _SAMPLED).astype(int))]
    return 2 * sum(map(_has_frame, sample)) > len(sample)


def _has_frame(file: Path) -> bool:
    try:
        if file.suffix == ".txt":
            with file.open("rb") as opened:
                return is_label(opened.read(_MOST_LABELS))
        if file.stat().st_size > _MOST_FRAME_BYTES:
            return False
        return _is_frame(read_json([file], file)[0])
    except (InputError, OSError):
        return False  # the reader reports the error


def _read_labels(path: Path, files: Sequence[Path]) -> tuple[Detections, list[str]]:
    rows = {file: row for file, row in _label_rows(path, files) if row is None or len(row)}
    frames = _frames_of(rows, {file for file, row in rows.items() if row is not None})
    ignored = [file.name for file in rows if file not in frames]
    people = [(file, person) for file in frames for person in _people(file, rows[file])]
    if not people:
        raise InputError(f"{path}: contains no people: no text file has a line of class, box and keypoints")
    width = len(people[0][1])
    count, per_point = _layout(path, width)
    rest = np.array([person[_BOX + count * per_point :] for _, person in people if len(person) == width])
    has_id = rest.shape[1] == 2 or (rest.shape[1] == 1 and (rest == rest.round()).all() and (rest > 0).all())
    numbers = dict(zip(frames, frame_numbers(path, [file.name for file in frames]), strict=True))

    def of_frames() -> Iterator[Person]:
        for file, person in people:
            if len(person) != width:
                raise InputError(f"{file}: a line has {len(person)} numbers, expected {width} as in the first line")
            points = person[_BOX : _BOX + count * per_point].reshape(count, per_point)
            yield Person(str(file), numbers[file], points.tolist(), id=float(person[-1]) if has_id else None)

    detections = detections_of(path, KeypointFormat.ULTRALYTICS, of_frames())
    is_coco = count == len(SKELETONS[Detector.COCO17].keypoints)
    warnings = [f"{path}: {some(ignored)}: ignored, because frames have other names and contents"] if ignored else []
    return replace(detections, skeleton=Detector.COCO17 if is_coco else None), warnings


def _label_rows(path: Path, files: Sequence[Path]) -> Iterator[tuple[Path, list[np.ndarray] | None]]:
    """Yield each file with the numbers of its lines, or with None if a line has other text."""
    bytes_left = MOST_BYTES // 4  # in memory, the numbers take 2 to 4 times as much as the text
    for file in files:
        try:
            with file.open("rb") as opened:
                text = opened.read(_MOST_LABELS + 1)
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
        bytes_left -= len(text)
        if bytes_left < 0 or len(text) > _MOST_LABELS:
            source, most = (path, MOST_BYTES // 4) if bytes_left < 0 else (file, _MOST_LABELS)
            raise InputError(f"{source}: is larger than {most >> 10} KiB; cut it into parts")
        if text.count(b"\n") > MOST_PEOPLE:
            raise InputError(
                f"{file}: has more than {MOST_PEOPLE} lines (people); raise the detector's confidence threshold"
            )
        try:
            yield file, [np.array(line.split(), np.float64) for line in text.splitlines() if line.strip()]
        except ValueError:
            yield file, None


def _people(file: Path, rows: list[np.ndarray] | None) -> list[np.ndarray]:
    if rows is None:
        raise InputError(f"{file}: a line has other text than numbers; expected class, box and keypoints of a person")
    return rows


def _layout(path: Path, width: int) -> tuple[int, int]:
    """Return the number of keypoints in a line of `width` numbers, and how many numbers a keypoint has."""
    counts = {len(skeleton.keypoints) for skeleton in SKELETONS.values()}
    for per_point in (3, 2):
        for more in range(3):
            if (width - _BOX - more) % per_point == 0 and (width - _BOX - more) // per_point in counts:
                return (width - _BOX - more) // per_point, per_point
    raise InputError(f"{path}: a line has {width} numbers, expected class, box and keypoints, e.g. 56 for COCO")
