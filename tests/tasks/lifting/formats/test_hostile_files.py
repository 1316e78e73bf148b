"""Damaged and untrusted keypoint files are refused with an error that names file and place."""

import json
import time
import tracemalloc
from copy import deepcopy

import numpy as np
import pytest

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.writing import (
    alphapose,
    alphapose_by_image,
    body,
    mediapipe,
    mmpose,
    openpose,
    seen_by,
    triples,
)

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


BAD_NUMBERS = [1e7, 1e300, -1e6, "12", True, {}, [], [1, 2]]
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
def test_invalid_number_is_refused(name, tmp_path):
    for place in NUMBERS[name]:
        for value in BAD_NUMBERS:
            (tmp_path / "f.json").write_text(json.dumps(mutated(GOOD[name], place, value)))
            refuse(tmp_path / "f.json")
        for text in ("Infinity", "-Infinity", "1e999", "9" * 5000):
            whole = json.dumps(mutated(GOOD[name], place, "HERE")).replace('"HERE"', text)
            (tmp_path / "f.json").write_text(whole)
            refuse(tmp_path / "f.json")


@pytest.mark.parametrize("name", list(GOOD))
def test_value_of_another_type_is_refused(name, tmp_path):
    for place in PLACES[name]:
        for value in (True, 1.5, {}, {"a": 1}, [[]], -7):
            if place == (2, "idx") and value == [[]]:
                continue
            (tmp_path / "f.json").write_text(json.dumps(mutated(GOOD[name], place, value)))
            refuse(tmp_path / "f.json")


@pytest.mark.parametrize("name", list(GOOD))
def test_truncated_file_is_refused(name, tmp_path):
    whole = json.dumps(GOOD[name]).encode()
    for end in range(1, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "f.json").write_bytes(whole[:end])
        refuse(tmp_path / "f.json")


def test_repeated_frame_is_refused(tmp_path):
    twice = {
        "alphapose": [*GOOD["alphapose"], {**GOOD["alphapose"][0], "idx": 4}, {**GOOD["alphapose"][0], "idx": 4}],
        "mmpose": [*GOOD["mmpose"], GOOD["mmpose"][1]],
        "mediapipe": [*GOOD["mediapipe"], GOOD["mediapipe"][1]],
    }
    for tree in twice.values():
        (tmp_path / "f.json").write_text(json.dumps(tree))
        refuse(tmp_path / "f.json", "twice")
    (tmp_path / "f.json").write_text(json.dumps(mutated(GOOD["alphapose"], (1, "image_id"), "other_0.jpg")))
    refuse(tmp_path / "f.json", "have the same frame number")


def test_json_with_excessive_memory_or_depth_is_refused(tmp_path):
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


DENSE = {
    "dicts": b'{"a":1},',
    "lists": b"[],",
    "keys": b'{"a":{"b":{"c":1}}},',
    "strings": b'"ab",',
}


@pytest.mark.parametrize("unit", DENSE.values(), ids=list(DENSE))
def test_many_small_values_are_refused_before_parsing(unit, tmp_path):
    path = tmp_path / "f.json"
    with path.open("wb") as file:
        file.write(b"[" + unit * (64 * 10**6 // len(unit)) + b"0]")
    tracemalloc.start()
    try:
        started = time.monotonic()
        refuse(path, "MiB of memory; cut the file into parts")
        assert time.monotonic() - started < 20
        assert tracemalloc.get_traced_memory()[1] < 2**29  # the buffer that it is read into; the values take 1.3 GB
    finally:
        tracemalloc.stop()


def test_the_frames_of_a_folder_share_the_bounds(tmp_path, monkeypatch):
    folder = openpose(tmp_path / "f", triples(seen_by(Detector.BODY25, body(4))))
    monkeypatch.setattr("tasks.lifting.formats.json_text.MOST_MEMORY", 10_000)  # a frame takes 3,500
    with pytest.raises(InputError, match="f: would take more than"):
        read_keypoints(find_keypoints(folder), KeypointsParameters())


@pytest.mark.parametrize("deep", ["[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, "[" * 900 + "]" * 900])
def test_deep_nesting_is_refused_anywhere(deep, tmp_path):
    for text in (deep, f'[{{"image_id": {deep}, "keypoints": [1, 2, 3]}}]', f'{{"people": [], "version": {deep}}}'):
        (tmp_path / "f.json").write_text(text)
        refuse(tmp_path / "f.json", "nested too deeply for keypoints")


def test_brackets_in_strings_do_not_count_as_nesting(tmp_path):
    entries = [entry | {"image_id": f'[[{{\\"{place}.jpg'} for place, entry in enumerate(GOOD["alphapose"] * 40)]
    (tmp_path / "f.json").write_text(json.dumps(entries))
    assert read_keypoints(find_keypoints(tmp_path / "f.json"), KeypointsParameters())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.csv", "a,b\n" + "11,22\n" * 300_000),
        ("f.trc", "PathFileType\n\n\n\tTime\tX\n\n" + "1\t2\t3\t4\t5\n" * 300_000),
    ],
)
def test_table_needs_the_memory_of_its_numbers(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    tracemalloc.start()
    try:
        refuse(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_long_text_among_numbers_is_refused(tmp_path):
    tree = mutated(GOOD["alphapose"], (1, "keypoints"), ["a" * 10**7, *[""] * 50_000])  # 2 TB as an array of numpy
    (tmp_path / "f.json").write_text(json.dumps(tree))
    refuse(tmp_path / "f.json", "expected a list of numbers, not a list")


def test_large_file_is_refused_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.lifting.formats.json_text.MOST_BYTES", 1000)
    (tmp_path / "f.json").write_text(json.dumps(GOOD["alphapose"]))
    refuse(tmp_path / "f.json", "larger than")


def test_integer_with_too_many_digits_is_not_reported_as_invalid_json(tmp_path):
    (tmp_path / "f.json").write_text(f'[{{"frame": {"9" * 30}}}]')
    refuse(tmp_path / "f.json", r"f\.json: an integer has 30 characters; at most 18 are allowed")


def test_error_names_the_damaged_openpose_frame(tmp_path):
    folder = openpose(tmp_path / "f", triples(seen_by(Detector.BODY25, body(4))))
    bad = folder / "v2_000000000002_keypoints.json"
    for tree in ({}, [], {"people": 3}, {"people": [3]}, {"people": [{"pose_keypoints_2d": [1, 2, "3"] * 25}]}):
        bad.write_text(json.dumps(tree))
        with pytest.raises(InputError, match="v2_000000000002"):
            read_keypoints(find_keypoints(folder), KeypointsParameters())
    bad.write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 0.5] * 18}]}))
    with pytest.raises(InputError, match=r"v2_000000000002.*has 18 keypoints, expected 25"):
        read_keypoints(find_keypoints(folder), KeypointsParameters())


def test_arrays_without_keypoints_are_refused(tmp_path):
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


@pytest.mark.parametrize("people", ["people", "bodies"])
def test_error_names_the_damaged_alphapose_image(people, tmp_path):
    good = alphapose_by_image(COCO, people)
    for value in (3, [], {}, {people: 3}, {people: [3]}, {people: [{}]}):
        (tmp_path / "f.json").write_text(json.dumps(mutated(good, ("2.jpg",), value)))
        refuse(tmp_path / "f.json", r"image '2\.jpg'")
    (tmp_path / "f.json").write_text(json.dumps(good | {"other_2.jpg": good["2.jpg"]}))
    refuse(tmp_path / "f.json", "have the same frame number")


def test_invalid_fps_and_size_are_refused(tmp_path):
    for name in ("fps", "width", "height"):
        for value in (0, -1, 0.0001, 1e9, "30", True, [30], 10**17):
            (tmp_path / "f.json").write_text(json.dumps({"frames": GOOD["mediapipe"], name: value}))
            refuse(tmp_path / "f.json", f"{name}: expected a number from")


def test_people_without_seen_joints_have_no_track(tmp_path):
    unseen = mutated(COCO, ((slice(None), slice(5, None), 2),), 0)  # a face, of which no joint derives
    np.save(tmp_path / "f.npy", unseen)
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "f.npy"), KeypointsParameters(skeleton="coco17"))
    assert tracks_of(found, 10) == []


def test_underflowing_confidence_is_missing(tmp_path):
    np.save(tmp_path / "f.npy", mutated(COCO, ((slice(None), slice(None), 2),), 1e-300))
    (found,), _ = read_keypoints(
        find_keypoints(tmp_path / "f.npy"), KeypointsParameters(skeleton="coco17", min_confidence=0)
    )
    assert (found.confidence == 0).all()
    assert tracks_of(found, 10) == []


def test_derived_joint_out_of_bounds_is_refused(tmp_path):
    np.save(tmp_path / "f.npy", mutated(COCO, ((2, [3, 4], 1),), -9e4))  # ears, beyond which the head lies
    refuse(tmp_path / "f.npy", r"frame 2: head \(derived\)")
    tree = mutated(GOOD["mediapipe"], (1, "landmarks", 12, "x"), 3.9)  # a share of the image
    (tmp_path / "f.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"frame 1: thorax \(derived\)"):
        read_keypoints(find_keypoints(tmp_path / "f.json"), KeypointsParameters(width=65_536, height=480))


def test_large_arrays_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.lifting.formats.arrays._MOST_BYTES", 4 * 2**20)
    np.savez_compressed(tmp_path / "f.npz", a=np.zeros((20_000, 17, 3)))  # a bomb
    refuse(tmp_path / "f.npz", "at most")
    np.savez(tmp_path / "f.npz", a=np.zeros((20_000, 17, 3)))
    refuse(tmp_path / "f.npz", "more than 4 MiB")
