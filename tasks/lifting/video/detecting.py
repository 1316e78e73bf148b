"""Keypoints of a video, by a detector that runs in a Python of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.parameters import VideoDetector

PYTHON_VARIABLE = "UPLIFT_MEDIAPIPE_PYTHON"
LANDMARKS_FILE = "landmarks.npz"
_SCRIPT = Path(__file__).with_name("mediapipe_detector.py")
_QUIET = {
    "GLOG_minloglevel": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OPENCV_LOG_LEVEL": "ERROR",
    "OPENCV_FFMPEG_LOGLEVEL": "8",
}


def detect(video: Path, detector: VideoDetector, target: Path, on_frames: Callable[[int, int], None]) -> None:
    """Write the landmarks of a video as an .npz that `tasks.lifting.formats` reads.

    Parameters
    ----------
    on_frames
        Called once a second with the frames that are done, and all of them.

    Raises
    ------
    InputError
        There is no Python with this detector, or it cannot read the video; what it says is told.
    """
    python, version = detector_python(video), detector.value.removeprefix("mediapipe-")
    arguments = [str(python), "-I", str(_SCRIPT), version, str(video.absolute()), str(target)]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=os.environ | _QUIET,
            )
        except OSError as error:
            raise InputError(f"{video}: {python} cannot be run ({error.strerror}); {_remedy(detector)}") from error
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
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()] or [f"exit code {process.returncode}"]
            last = ascii(lines[-1][:300])[1:-1]
            raise InputError(f"{video}: {python} finds no keypoints in it: {last}; {_remedy(detector)}")


def detector_python(video: Path) -> Path:
    """The Python that has the detector: the one named, or that of `make mediapipe` beside the environment of this one.

    Raises
    ------
    InputError
        There is none.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    python = Path(named) if named else Path(sys.prefix).with_name(".venv-mediapipe") / "bin" / "python"
    if not python.is_file():
        raise InputError(f"{video}: is a video, and {python} is no Python with a detector; {_remedy()}")
    return python


def _remedy(detector: VideoDetector = VideoDetector.MEDIAPIPE) -> str:
    return (
        f"`make mediapipe` makes one with {detector}, {PYTHON_VARIABLE} names another; or give what any detector wrote"
        " of it (docs/keypoints.md)"
    )
