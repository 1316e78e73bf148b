"""Keypoints of a video: with MediaPipe if it is installed, and with a fake detector on any machine."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters, VideoDetector
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tasks.lifting.video import detecting
from tasks.lifting.video.detecting import PYTHON_VARIABLE, detect, detector_python
from tests.tasks.lifting.video.drawing import STAND_IN, as_program, draw_turned_video, draw_video, trim

MEDIAPIPE = VideoDetector.MEDIAPIPE


def nothing(done, total):
    pass


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"\x00\x00\x00\x20ftypisom")
    return path


@pytest.fixture
def mediapipe_python():
    named = os.environ.get(PYTHON_VARIABLE)
    python = Path(named) if named else Path(sys.prefix).with_name(".venv-mediapipe") / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"MediaPipe is absent: no {python}; `make mediapipe` makes it")
    return python


def test_mediapipe_follows_a_drawn_person(mediapipe_python, tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(mediapipe_python))
    path = draw_video(mediapipe_python, tmp_path / "drawn.mp4")
    detect(path, MEDIAPIPE, tmp_path / "a.npz", nothing)
    detect(path, MEDIAPIPE, tmp_path / "b.npz", nothing)
    first, second = (np.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(first["landmarks"], second["landmarks"])  # the same video, the same keypoints
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "a.npz"), KeypointsParameters())
    assert (found.fps, found.width, found.height, found.skeleton) == (30, 640, 480, "mediapipe33")
    (track,) = tracks_of(found, 10)
    assert len(track.pose_2d) == 40
    middle = track.pose_2d[20, :, :2]
    head = (250 + 2 * 20, 110)  # where the middle of the head was drawn
    np.testing.assert_allclose(middle[9], head, atol=35)
    np.testing.assert_allclose(middle[0], (290, 260), atol=35)  # the pelvis: where trunk and legs meet
    assert middle[14, 0] < middle[11, 0]  # the right arm is to the left of the image: we look at the front


def test_rotation_and_edit_list_of_a_phone_video_are_honoured(mediapipe_python, tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(mediapipe_python))
    detect(draw_video(mediapipe_python, tmp_path / "a.mp4"), MEDIAPIPE, tmp_path / "a.npz", nothing)
    turned = draw_turned_video(mediapipe_python, tmp_path / "b.mp4")
    detect(turned, MEDIAPIPE, tmp_path / "b.npz", nothing)
    upright, found = (np.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert (found["width"], found["height"]) == (640, 480)
    places = [0, 11, 12, 23, 24]  # nose, shoulders and hips
    np.testing.assert_allclose(found["landmarks"][20, places, :2], upright["landmarks"][20, places, :2], atol=15)
    trim(turned, frames=15)
    detect(turned, MEDIAPIPE, tmp_path / "c.npz", nothing)
    assert len(np.load(tmp_path / "c.npz")["landmarks"]) == 25


def test_mediapipe_reports_a_damaged_video_in_one_line(mediapipe_python, video, tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(mediapipe_python))
    message = (
        r"walk\.mp4: the detector of .* failed: OpenCV cannot decode any frame of the video; convert the video to MP4"
    )
    with pytest.raises(InputError, match=message):
        detect(video, MEDIAPIPE, tmp_path / "a.npz", nothing)


def test_another_version_of_mediapipe_is_refused(mediapipe_python, video, tmp_path):
    script = Path(detecting.__file__).with_name("mediapipe_detector.py")
    ended = subprocess.run(
        [mediapipe_python, "-I", script, "0.9.0", video, tmp_path / "a.npz"], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "the environment has mediapipe 0.10.14, expected 0.9.0" in ended.stderr


def test_error_of_a_python_without_a_detector_has_a_remedy(video, tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(
        InputError, match=r"walk\.mp4: a video needs a detector, but .*python does not exist; `make mediapipe`"
    ):
        detector_python(video)
    (tmp_path / "python").write_text("no program")
    with pytest.raises(InputError, match=r"walk\.mp4: .*python cannot be run"):
        detect(video, MEDIAPIPE, tmp_path / "a.npz", nothing)
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    with pytest.raises(InputError, match=r"walk\.mp4: .*No module named 'cv2'; `make mediapipe`"):
        detect(video, MEDIAPIPE, tmp_path / "a.npz", nothing)


def test_error_of_a_video_that_cannot_be_decoded_does_not_blame_the_environment(video, tmp_path, monkeypatch):
    program = "import sys\nsys.exit('OpenCV cannot decode any frame of the video')\n"
    monkeypatch.setenv(PYTHON_VARIABLE, str(as_program(tmp_path, program)))
    with pytest.raises(InputError, match=r"walk\.mp4: .*cannot decode any frame.*convert the video to MP4") as refused:
        detect(video, MEDIAPIPE, tmp_path / "a.npz", nothing)
    assert "make mediapipe" not in str(refused.value)


def test_progress_is_reported_during_detection(video, tmp_path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(as_program(tmp_path, STAND_IN)))
    told = []
    detect(video, MEDIAPIPE, tmp_path / "a.npz", lambda done, total: told.append((done, total)))
    assert told == [(10, 30), (20, 30)]
    assert np.load(tmp_path / "a.npz")["landmarks"].shape == (30, 33, 4)


def test_detector_is_killed_when_its_caller_is_interrupted(video, tmp_path, monkeypatch):
    endless = "import os, time\nprint(1, os.getpid(), flush=True)\ntime.sleep(600)\n"
    monkeypatch.setenv(PYTHON_VARIABLE, str(as_program(tmp_path, endless)))
    started = []

    def interrupt(done, process):
        started.append(process)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect(video, MEDIAPIPE, tmp_path / "a.npz", interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
