"""`uplift keypoints` writes the tracks of a file once."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.store.checking import check_folder
from data_contracts.store.manifests import read_manifest
from data_contracts.tracks.table import from_arrow
from flows.cli import main
from tasks.lifting.video.detecting import PYTHON_VARIABLE
from tests.flows.typed import keypoints
from tests.tasks.lifting.video.drawing import STAND_IN, as_program


@pytest.fixture
def detected(tmp_path):
    """Write an MMPose file with H36M joints of two people, for 20 and for 3 frames."""
    shape = np.random.default_rng(7).uniform(-50, 50, (17, 2))
    people = [
        [
            {"keypoints": (shape + np.array([300 * who + 100, 200])).tolist(), "keypoint_scores": [0.8] * 17}
            for who in range(2 if frame < 3 else 1)
        ]
        for frame in range(20)
    ]
    path = tmp_path / "seen.json"
    path.write_text(json.dumps([{"frame_id": frame, "instances": found} for frame, found in enumerate(people)]))
    return path


OF_H36M = KeypointsParameters(skeleton="h36m17", fps=30)


def test_a_file_becomes_tracks_in_the_store_and_short_ones_are_listed(detected, empty_store):
    result = keypoints(str(detected), OF_H36M, str(empty_store))
    assert result.counts == {"tracks": 1, "frames": 20, "interpolated_frames": 0, "short_tracks": 1}
    (track,) = from_arrow(parquet.read_table(result.path / "keypoints.parquet"))
    assert (track.first_frame, track.fps, track.width, track.person) == (0, 30, None, -1)
    (short,) = pd.read_csv(result.path / "short_tracks.csv").to_dict("records")
    assert (short["first_frame"], short["last_frame"], short["frames"]) == (0, 2, 3)
    check_folder(result.path)
    assert keypoints(str(detected), OF_H36M, str(empty_store)).cached
    others = OF_H36M.model_copy(update={"min_frames": 2})
    assert keypoints(str(detected), others, str(empty_store)).counts["tracks"] == 2


def test_renaming_a_frame_file_changes_the_result(tmp_path, empty_store):
    folder = tmp_path / "frames"
    folder.mkdir()
    shape = np.random.default_rng(7).uniform(100, 300, (18, 3)) * (1, 1, 0) + (0, 0, 0.7)
    for frame in range(12):
        tree = {"people": [{"pose_keypoints_2d": shape.ravel().tolist()}]}
        (folder / f"{frame:03d}.json").write_text(json.dumps(tree))
    first = keypoints(str(folder), store=str(empty_store))
    assert first.statistics["skeleton"] == "coco18"
    (folder / "011.json").rename(folder / "012.json")
    second = keypoints(str(folder), store=str(empty_store))
    assert second.digest != first.digest
    assert (second.counts["frames"], second.counts["interpolated_frames"]) == (13, 1)


def test_a_file_without_a_long_track_is_refused_and_writes_nothing(detected, empty_store):
    with pytest.raises(InputError, match=r"the longest has 20; pass --set keypoints\.min_frames=20"):
        keypoints(str(detected), OF_H36M.model_copy(update={"min_frames": 21}), str(empty_store))
    assert not list((empty_store / "keypoints").glob("[!.]*"))


@pytest.mark.parametrize(("text", "message"), [("[1, 2", "is not valid JSON"), ("hello", "unknown keypoint format")])
def test_the_command_refuses_in_one_line(text, message, tmp_path, empty_store, capsys, monkeypatch):
    (tmp_path / "bad.json").write_text(text)
    monkeypatch.setattr(sys, "argv", ["uplift", "keypoints", str(tmp_path / "bad.json"), "--store", str(empty_store)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "bad.json" in last
    assert message in last


def test_the_command_takes_the_skeleton_and_prints_the_result(detected, empty_store, capsys, monkeypatch):
    arguments = ["keypoints", str(detected), "--skeleton", "h36m17", "--store", str(empty_store), "--json"]
    for is_cached in (False, True):
        monkeypatch.setattr(sys, "argv", ["uplift", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        outcome = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        assert (outcome["tracks"], outcome["short_tracks"], outcome["cached"]) == (1, 1, is_cached)


def test_assumptions_and_repairs_are_on_the_terminal_and_in_the_manifest(detected, empty_store, capsys, monkeypatch):
    frames = json.loads(detected.read_text())
    (person,) = frames[12]["instances"]
    person["keypoints"] = [[x + 150, y] for x, y in person["keypoints"]]
    detected.write_text(json.dumps(frames))
    monkeypatch.setattr(sys, "argv", ["uplift", "keypoints", str(detected), "--store", str(empty_store)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    begins = ("skeleton:", "people:", "phantoms:", "frame rate:", "image size:")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(begins)]
    assert [line.partition(":")[0] + ":" for line in lines] == [*begins]
    assert "in 1 frames" in lines[2]
    assert "30 fps are assumed; pass --set keypoints.fps" in lines[3]
    (folder,) = (empty_store / "keypoints").glob("[!.]*")
    repairs = read_manifest(folder)["statistics"]["repairs"]
    assert repairs == {
        **{
            "scene_cuts": [],
            "jumps": [],
            "exchanged_ids": [],
            "unclear_sides": [],
            "phantom_frames": 1,
            "jumping_joints": 0,
        },
        **{"exchanged_legs": 0, "exchanged_arms": 0},
    }


def test_a_video_becomes_tracks_and_keeps_the_landmarks(tmp_path, empty_store, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(as_program(tmp_path, STAND_IN)))
    video = tmp_path / "walk.mp4"
    video.write_bytes(b"\x00\x00\x00\x20ftypisom")
    result = keypoints(str(video), store=str(empty_store))
    assert result.counts["video_frames"] == 30
    assert result.counts["frames_with_a_person"] == 28
    assert (result.counts["tracks"], result.counts["interpolated_frames"]) == (1, 2)
    assert result.statistics["warnings"] == [
        f"{video}: 30 of the 36 frames were decoded; the video is trimmed (edit list) or cut off"
    ]
    assert result.statistics["detector"] == "mediapipe-0.10.14"
    assert read_manifest(result.path)["parameters"]["detector"] == "mediapipe-0.10.14"
    check_folder(result.path)
    assert keypoints(str(video), store=str(empty_store)).cached
    video.write_bytes(b"\x00\x00\x00\x20ftypisom again")
    assert not keypoints(str(video), store=str(empty_store)).cached
    again = keypoints(str(result.path / "landmarks.npz"), KeypointsParameters(max_gap=0), str(empty_store))
    assert again.counts["tracks"] == 2  # read again without detection
    assert "detector" not in read_manifest(again.path)["parameters"]


def test_the_command_refuses_a_video_without_a_detector_in_one_line(tmp_path, empty_store, capsys, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))
    (tmp_path / "walk.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom")
    monkeypatch.setattr(sys, "argv", ["uplift", "keypoints", str(tmp_path / "walk.mp4"), "--store", str(empty_store)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "walk.mp4: a video needs a detector, but" in line
    assert "`make mediapipe`" in line
