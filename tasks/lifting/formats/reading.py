"""Read an untrusted file or folder of 2D keypoints; its format is detected from its content."""

import re
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.other_files import PICKLE, kind_of_file
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.sources import KeypointSource
from tasks.ingest.reading import ZIP_BEGINS
from tasks.lifting.formats.arrays import read_arrays
from tasks.lifting.formats.detections import Detections, normalise
from tasks.lifting.formats.folders import is_label, read_folder, read_label
from tasks.lifting.formats.json_formats import READERS
from tasks.lifting.formats.json_text import read_json
from tasks.lifting.formats.tables import DELIMITERS, read_csv
from tasks.lifting.formats.trc import TRC_BEGINS, read_trc

FORMATS_READ = (
    "AlphaPose results (all three formats), COCO results and annotations, OpenPose folders and frames, MMPose"
    " predictions, Ultralytics labels and to_json, JSON or JSON lines of frames with people (MediaPipe, MoveNet,"
    " rtmlib, Apple Vision), CSV of MediaPipe, COCO or DeepLabCut, VideoPose3D custom .npz, TRC in px, and .npy or .npz"
    " of (frames, K, 2 or 3)"
)
# Format of a file -> another format that may be requested for it
_ALSO_REQUESTED = {
    KeypointFormat.ALPHAPOSE: KeypointFormat.OPENPOSE,
    KeypointFormat.ARRAYS: KeypointFormat.MEDIAPIPE,
    KeypointFormat.MEDIAPIPE: KeypointFormat.TABLE,
}
_WORLD_LANDMARKS = re.compile(rb"world_?landmarks", re.IGNORECASE)
_HDF5_BEGINS = b"\x89HDF"
_ARRAYS_BEGIN = (*ZIP_BEGINS, b"\x93NUMPY")


def read_keypoints(
    source: KeypointSource, parameters: KeypointsParameters, most_poses: int | None = None
) -> tuple[list[Detections], list[str]]:
    """Return the people of each video in a file, normalised (see `normalise`), and warnings.

    `most_poses` is the largest allowed number of people, added over all frames.

    Raises
    ------
    InputError
        The format is unknown or differs from `parameters.format`, or the file is damaged or contains impossible values
        or too many poses.
    """
    expected = parameters.format
    warnings: list[str] = []
    if source.is_folder:
        detections, warnings = read_folder(source.path, source.files, expected)
        raw = [detections]
    else:
        raw = _read_file(source.path, expected)
    found = raw[0].format
    if expected not in (KeypointFormat.AUTO, found, _ALSO_REQUESTED.get(found)):
        raise InputError(f"{source.path}: has format {found}, but keypoints.format is {expected}; set it to auto")
    poses = sum(len(video.frame) for video in raw)
    if most_poses is not None and poses > most_poses:
        raise InputError(f"{source.path}: has {poses:,} poses, at most {most_poses:,} are allowed; cut it into parts")
    normalised = [normalise(video, parameters) for video in raw]
    return [video for video, _ in normalised], warnings + [line for _, lines in normalised for line in lines]


def _read_file(path: Path, expected: KeypointFormat) -> list[Detections]:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not start:
        raise InputError(f"{path}: is empty; pass a file with 2D keypoints")
    text = start.removeprefix(b"\xef\xbb\xbf")
    if start.startswith(_ARRAYS_BEGIN):
        return read_arrays(path)
    if text.lstrip().startswith((b"{", b"[")):
        (tree,) = read_json([path], path)
        for format in sorted(READERS, key=lambda format: format is not expected):  # the expected format first
            if (detections := READERS[format](path, tree)) is not None:
                return [detections]
    elif text.startswith(TRC_BEGINS):
        return [read_trc(path)]
    elif is_label(text):
        return [read_label(path)]
    elif text.strip() and any(delimiter.encode() in text.splitlines()[0] for delimiter in DELIMITERS):
        return [read_csv(path)]
    raise InputError(f"{path}: {_reason(start)}; supported: {FORMATS_READ}")


def _reason(start: bytes) -> str:
    """Return the kind of a file of unknown format, from its first bytes, and the remedy, for an error message."""
    if _WORLD_LANDMARKS.search(start):
        return "contains world landmarks of MediaPipe, which are 3D without a place in the image; write pose_landmarks"
    kind = kind_of_file(start)
    if start.startswith(_HDF5_BEGINS):
        return (
            f"is {kind}; write tables of DeepLabCut as CSV, with save_as_csv=True or pandas:"
            " read_hdf(FILE).to_csv('keypoints.csv')"
        )
    if kind == PICKLE:
        return f"is {kind}; write its arrays with numpy.savez, e.g. keypoints (frames, K, 3) in pixels"
    if kind and "3D motion" in kind:
        return f"is {kind}, which needs no lifting; pass 2D keypoints"
    return f"is {kind} of unknown keypoint format" if kind else "unknown keypoint format"
