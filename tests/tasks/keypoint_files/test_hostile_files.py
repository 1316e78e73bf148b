"""Damaged and hostile files of keypoints are refused with file and place, whatever is wrong in them."""

import json
from copy import deepcopy

import numpy as np
import pytest

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.keypoint_files.reading import read_keypoints
from tests.tasks.keypoint_files.writing import alphapose, body, mediapipe, mmpose, openpose, seen_by, triples

COCO = triples(seen_by(Detector.COCO17, body(4)))
MEDIA = triples(seen_by(Detector.MEDIAPIPE33, body(4)))
GOOD = {"alphapose": alphapose(COCO, [3]), "mmpose": mmpose(COCO), "mediapipe": mediapipe(MEDIA)}


def refuse(path, match=None):
    with pytest.raises(InputError, match=match) as refused:
        read_keypoints(find_keypoints(path), KeypointsParameters(width=640, height=480))
    assert path.name in str(refused.value)
    assert len(str(refused.value)) < 1000


def mutated(tree, path, value):
    tree = deepcopy(tree)
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return tree


BAD_NUMBERS = [1e7, 1e300, -1e6, "12", True, None, {}, [], [1, 2]]
NUMBERS = {
    "alphapose": [(1, "keypoints", 4)],
    "mmpose": [(1, "instances", 0, "keypoints", 3, 1)],
    "mediapipe": [(1, "landmarks", 3, "x")],
}
PLACES = {
    "alphapose": [(1,), (1, "keypoints"), (1, "image_id"), (2, "idx")],
    "mmpose": [(1,), (1, "instances"), (1, "instances", 0), (1, "instances", 0, "keypoints"), (1, "frame_id")],
    "mediapipe": [(1, "landmarks", 3), (1, "frame")],
}


@pytest.mark.parametrize("name", list(GOOD))
def test_a_number_that_is_none_is_refused(name, tmp_path):
    for place in NUMBERS[name]:
        for value in BAD_NUMBERS:
            (tmp_path / "f.json").write_text(json.dumps(mutated(GOOD[name], place, value)))
            refuse(tmp_path / "f.json")
        for text in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000):
            whole = json.dumps(mutated(GOOD[name], place, "HERE")).replace('"HERE"', text)
            (tmp_path / "f.json").write_text(whole)
            refuse(tmp_path / "f.json")


@pytest.mark.parametrize("name", list(GOOD))
def test_something_of_another_type_is_refused(name, tmp_path):
    for place in PLACES[name]:
        for value in (True, 1.5, {}, {"a": 1}, [[]], -7):
            if place == (2, "idx") and value == [[]]:
                continue
            (tmp_path / "f.json").write_text(json.dumps(mutated(GOOD[name], place, value)))
            refuse(tmp_path / "f.json")


@pytest.mark.parametrize("name", list(GOOD))
def test_a_file_that_is_cut_off_is_refused_wherever_it_is(name, tmp_path):
    whole = json.dumps(GOOD[name]).encode()
    for end in range(1, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "f.json").write_bytes(whole[:end])
        refuse(tmp_path / "f.json")


def test_a_frame_that_stands_twice_is_refused(tmp_path):
    twice = {
        "alphapose": [*GOOD["alphapose"], {**GOOD["alphapose"][0], "idx": 4}, {**GOOD["alphapose"][0], "idx": 4}],
        "mmpose": [*GOOD["mmpose"], GOOD["mmpose"][1]],
        "mediapipe": [*GOOD["mediapipe"], GOOD["mediapipe"][1]],
    }
    for tree in twice.values():
        (tmp_path / "f.json").write_text(json.dumps(tree))
        refuse(tmp_path / "f.json", "twice")
    (tmp_path / "f.json").write_text(json.dumps(mutated(GOOD["alphapose"], (1, "image_id"), "other_0.jpg")))
    refuse(tmp_path / "f.json", "have no numbers of their own")


def test_json_that_is_made_to_take_memory_or_depth_is_refused(tmp_path):
    for text in (
        "[" * 100_000,
        "[" * 500 + "]" * 500,
        "[" + "[]," * 100_000 + "[]]",
        '{"people": []}',
        "[]",
        "{}",
        "7",
    ):
        (tmp_path / "f.json").write_text(text)
        refuse(tmp_path / "f.json")
    for data in (b"", b"\x00" * 100, b"\xff\xfe{", b"a,b\n1,2\n", b"frame,landmark,x,y\n0,99,1,1\n", b"\n\n,\n"):
        (tmp_path / "f.json").write_bytes(data)
        refuse(tmp_path / "f.json")


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.keypoint_files.json_text.MOST_BYTES", 1000)
    (tmp_path / "f.json").write_text(json.dumps(GOOD["alphapose"]))
    refuse(tmp_path / "f.json", "larger than")


def test_a_frame_of_openpose_that_is_bad_is_named(tmp_path):
    folder = openpose(tmp_path / "f", triples(seen_by(Detector.BODY25, body(4))))
    bad = folder / "v2_000000000002_keypoints.json"
    for tree in ({}, [], {"people": 3}, {"people": [3]}, {"people": [{"pose_keypoints_2d": [1, 2, "3"] * 25}]}):
        bad.write_text(json.dumps(tree))
        with pytest.raises(InputError, match="v2_000000000002"):
            read_keypoints(find_keypoints(folder), KeypointsParameters())
    bad.write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 0.5] * 18}]}))
    with pytest.raises(InputError, match=r"v2_000000000002.*54 numbers, and 75"):
        read_keypoints(find_keypoints(folder), KeypointsParameters())


def test_arrays_that_are_no_keypoints_are_refused(tmp_path):
    good = COCO.copy()
    for array in (
        *(mutated(good, ((1, 2, 0),), value) for value in (np.inf, -np.inf, 1e9)),
        *(mutated(good, ((1, 2, 2),), value) for value in (np.inf, -3.0, 50.0)),
        *(good[:0], good[:, :5], good[..., :1], good.astype(str), good.astype(object), good * np.nan, good[0]),
    ):
        np.save(tmp_path / "f.npy", array)
        refuse(tmp_path / "f.npy")
    whole = (tmp_path / "f.npy").read_bytes()
    np.save(tmp_path / "f.npy", good)
    whole = (tmp_path / "f.npy").read_bytes()
    for end in (7, 60, 140, len(whole) - 1):
        (tmp_path / "f.npy").write_bytes(whole[:end])
        refuse(tmp_path / "f.npy")
    (tmp_path / "f.npy").write_bytes(whole.replace(b"(4, 17, 3)", b"(9**9,17,3"[:10]))
    refuse(tmp_path / "f.npy")
    for arrays in (
        {"a": good, "b": good + 1},
        {"a": good, "fps": -1},
        {"a": good, "width": "x"},
        {"a": good, "skeleton": "dog"},
        {"positions_2d": 3},
        {"positions_2d": {}},
        {"positions_2d": {"v": {"custom": [good[0]]}}},
        {"positions_2d": {"v": {"custom": ["x"]}}},
    ):
        np.savez(tmp_path / "f.npz", **arrays)
        refuse(tmp_path / "f.npz")
