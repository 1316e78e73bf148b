"""A file or folder of 2D keypoints, whoever wrote it: told by its content, and never trusted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.sources import KeypointSource
from tasks.lifting.formats import alphapose, arrays, instances, mediapipe, openpose, trc
from tasks.lifting.formats.detections import Detections, settle
from tasks.lifting.formats.json_text import read_json

FORMATS_READ = (
    "AlphaPose's results in its three formats, COCO's results, OpenPose's folders and frames, MMPose's predictions,"
    " MediaPipe's landmarks (JSON, CSV, arrays), skeletons in `data`, VideoPose3D's custom .npz, TRC in px, and .npy or"
    " .npz of (frames, K, 2 or 3)"
)
_ARRAYS_BEGIN = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")


class _InJson(NamedTuple):
    is_it: Callable[[object], bool]
    read: Callable[[Path, object], list[Detections]]


_JSON = {
    KeypointFormat.ALPHAPOSE: _InJson(alphapose.is_alphapose, alphapose.read_alphapose),
    KeypointFormat.OPENPOSE: _InJson(openpose.is_openpose, lambda path, _: openpose.read_openpose(path, [path])),
    KeypointFormat.MMPOSE: _InJson(instances.is_mmpose, instances.read_mmpose),
    KeypointFormat.SKELETONS: _InJson(instances.is_skeletons, instances.read_skeletons),
    KeypointFormat.MEDIAPIPE: _InJson(mediapipe.is_mediapipe, mediapipe.read_mediapipe),
}


def read_keypoints(source: KeypointSource, parameters: KeypointsParameters) -> tuple[list[Detections], list[str]]:
    """The people of every video of a file, as `settle` leaves them, and warnings.

    Raises
    ------
    InputError
        It is of no format that is read, or not of the one that is asked for; it is damaged; or it says what no detector
        does. The message names the file, and where there is one the frame and the field.
    """
    settled, warnings = [], []
    for given in _read(source, parameters.format):
        detections, said = settle(given, parameters)
        settled.append(detections)
        warnings += said
    return settled, warnings


def _read(source: KeypointSource, wanted: KeypointFormat) -> list[Detections]:
    path = source.path
    if source.is_folder:
        if wanted is not KeypointFormat.ALPHAPOSE:
            _expect(path, KeypointFormat.OPENPOSE, wanted)
            wanted = KeypointFormat.OPENPOSE
        return openpose.read_openpose(path, source.files, wanted)
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if start.startswith(_ARRAYS_BEGIN):
        return _read_arrays(path, wanted)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return _read_json(path, wanted)
    if start.removeprefix(b"\xef\xbb\xbf").startswith(trc.BEGINS):
        _expect(path, KeypointFormat.TRC, wanted)
        return trc.read_trc(path)
    if b"," in start.splitlines()[0] if start.strip() else False:
        _expect(path, KeypointFormat.MEDIAPIPE, wanted)
        return mediapipe.read_landmark_table(path)
    raise _unknown(path)


def _read_arrays(path: Path, wanted: KeypointFormat) -> list[Detections]:
    found = arrays.read_arrays(path)
    if "positions_2d" in found:
        _expect(path, KeypointFormat.VIDEOPOSE3D, wanted)
        return arrays.read_videopose3d(path, found)
    if wanted is not KeypointFormat.MEDIAPIPE:
        _expect(path, KeypointFormat.ARRAYS, wanted)
    return arrays.read_plain(path, found)


def _read_json(path: Path, wanted: KeypointFormat) -> list[Detections]:
    tree: Any = read_json(path)
    if wanted is not KeypointFormat.AUTO:
        if wanted not in _JSON:
            raise InputError(f"{path}: is JSON, and {wanted} is not (keypoints.format)")
        return _JSON[wanted].read(path, tree)
    for format in _JSON.values():
        if format.is_it(tree):
            return format.read(path, tree)
    raise _unknown(path)


def _expect(path: Path, found: KeypointFormat, wanted: KeypointFormat) -> None:
    if wanted not in (KeypointFormat.AUTO, found):
        raise InputError(f"{path}: is of format {found}, and {wanted} is asked for (keypoints.format)")


def _unknown(path: Path) -> InputError:
    return InputError(f"{path}: is no file of keypoints that is read; these are: {FORMATS_READ}")
