"""Read an untrusted file or folder of 2D keypoints; its format is detected from its content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.sources import KeypointSource
from tasks.lifting.formats import alphapose, arrays, instances, mediapipe, openpose, trc
from tasks.lifting.formats.detections import Detections, normalise
from tasks.lifting.formats.json_text import read_json

FORMATS_READ = (
    "AlphaPose results (all three formats), COCO results, OpenPose folders and frames, MMPose predictions, MediaPipe"
    " landmarks (JSON, CSV, arrays), skeletons in `data`, VideoPose3D custom .npz, TRC in px, and .npy or .npz of"
    " (frames, K, 2 or 3)"
)
_ARRAYS_BEGIN = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")


class _JsonFormat(NamedTuple):
    matches: Callable[[object], bool]
    read: Callable[[Path, object], list[Detections]]


_JSON = {
    KeypointFormat.ALPHAPOSE: _JsonFormat(alphapose.is_alphapose, alphapose.read_alphapose),
    KeypointFormat.OPENPOSE: _JsonFormat(openpose.is_openpose, lambda path, _: openpose.read_openpose(path, [path])),
    KeypointFormat.MMPOSE: _JsonFormat(instances.is_mmpose, instances.read_mmpose),
    KeypointFormat.SKELETONS: _JsonFormat(instances.is_skeletons, instances.read_skeletons),
    KeypointFormat.MEDIAPIPE: _JsonFormat(mediapipe.is_mediapipe, mediapipe.read_mediapipe),
}


def read_keypoints(source: KeypointSource, parameters: KeypointsParameters) -> tuple[list[Detections], list[str]]:
    """Return the normalised people of every video of a file (see `normalise`), and warnings.

    Raises
    ------
    InputError
        The format is unknown or differs from `parameters.format`, or the file is damaged or contains impossible values.
        The message names the file and, if possible, the frame and the field.
    """
    videos, warnings = [], []
    for raw in _read(source, parameters.format):
        detections, new_warnings = normalise(raw, parameters)
        videos.append(detections)
        warnings += new_warnings
    return videos, warnings


def _read(source: KeypointSource, expected: KeypointFormat) -> list[Detections]:
    path = source.path
    if source.is_folder:
        if expected is not KeypointFormat.ALPHAPOSE:
            _require(path, KeypointFormat.OPENPOSE, expected)
            expected = KeypointFormat.OPENPOSE
        return openpose.read_openpose(path, source.files, expected)
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if start.startswith(_ARRAYS_BEGIN):
        return _read_arrays(path, expected)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return _read_json(path, expected)
    if start.removeprefix(b"\xef\xbb\xbf").startswith(trc.BEGINS):
        _require(path, KeypointFormat.TRC, expected)
        return trc.read_trc(path)
    if b"," in start.splitlines()[0] if start.strip() else False:
        _require(path, KeypointFormat.MEDIAPIPE, expected)
        return mediapipe.read_landmark_table(path)
    raise _unknown(path)


def _read_arrays(path: Path, expected: KeypointFormat) -> list[Detections]:
    content = arrays.read_arrays(path)
    if "positions_2d" in content:
        _require(path, KeypointFormat.VIDEOPOSE3D, expected)
        return arrays.read_videopose3d(path, content)
    if expected is not KeypointFormat.MEDIAPIPE:
        _require(path, KeypointFormat.ARRAYS, expected)
    return arrays.read_plain(path, content)


def _read_json(path: Path, expected: KeypointFormat) -> list[Detections]:
    tree: Any = read_json(path)
    if expected is not KeypointFormat.AUTO:
        if expected not in _JSON:
            raise InputError(f"{path}: is JSON, but keypoints.format is {expected}, which is not a JSON format")
        return _JSON[expected].read(path, tree)
    for format in _JSON.values():
        if format.matches(tree):
            return format.read(path, tree)
    raise _unknown(path)


def _require(path: Path, detected: KeypointFormat, expected: KeypointFormat) -> None:
    if expected not in (KeypointFormat.AUTO, detected):
        raise InputError(f"{path}: has format {detected}, but keypoints.format is {expected}")


def _unknown(path: Path) -> InputError:
    return InputError(f"{path}: unknown keypoint format; supported: {FORMATS_READ}")
