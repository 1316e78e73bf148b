"""Detect keypoints in a video with a detector that runs in its own Python environment."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from data_contracts.errors import InputError
from data_contracts.parameters import VideoDetector

PYTHON_VARIABLE = "UPLIFT_MEDIAPIPE_PYTHON"
LANDMARKS_FILE = "landmarks.npz"
_REMEDY = (
    f"`make mediapipe` creates an environment with {VideoDetector.MEDIAPIPE}, or set {PYTHON_VARIABLE} to another"
    " Python, or pass the keypoint file of any detector (docs/keypoints.md)"
)
_OTHER_REMEDY = "convert the video to MP4 (H.264), or pass the keypoint file of any detector (docs/keypoints.md)"
_NO_DETECTOR = ("ModuleNotFoundError:", "ImportError:", "the environment has mediapipe")
_SCRIPT = Path(__file__).with_name("mediapipe_detector.py")
_QUIET = {
    "GLOG_minloglevel": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OPENCV_LOG_LEVEL": "ERROR",
    "OPENCV_FFMPEG_LOGLEVEL": "8",
}


def detect(video: Path, detector: VideoDetector, target: Path, on_frames: Callable[[int, int], None]) -> None:
    """Write the landmarks of a video to the .npz `target`, which `tasks.lifting.formats` reads.

    The function calls `on_frames` about once per second with the number of finished frames and of all frames.

    Raises
    ------
    InputError
        The detector is not installed, or cannot read the video; the message contains the last line that it printed.
    """
    python, version = detector_python(video), detector.value.removeprefix("mediapipe-")
    arguments = [str(python), "-I", str(_SCRIPT), version, str(video.absolute()), str(target)]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        try:
            process = Popen(arguments, stdin=DEVNULL, stdout=PIPE, stderr=errors, text=True, env=os.environ | _QUIET)
        except OSError as error:
            raise InputError(f"{video}: {python} cannot be run ({error.strerror}); {_REMEDY}") from error
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    done, _, total = line.partition(" ")
                    on_frames(int(done), int(total))
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            lines = [line.strip() for line in errors if line.strip()] or [f"exit code {process.returncode}"]
            last = ascii(lines[-1][:300])[1:-1]
            remedy = _REMEDY if last.startswith(_NO_DETECTOR) else _OTHER_REMEDY
            raise InputError(f"{video}: the detector of {python} failed: {last}; {remedy}")


def detector_python(video: Path) -> Path:
    """Return the detector's Python: from `PYTHON_VARIABLE`, else from `make mediapipe`; InputError if missing."""
    path = os.environ.get(PYTHON_VARIABLE)
    python = Path(path) if path else Path(sys.prefix).with_name(".venv-mediapipe") / "bin" / "python"
    if not python.is_file():
        raise InputError(f"{video}: a video needs a detector, but {python} does not exist; {_REMEDY}")
    return python
