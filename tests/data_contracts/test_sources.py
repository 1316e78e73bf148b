"""Which files are meant by files and folders that are named, and which clip list goes with each."""

import os

import pytest

from data_contracts.errors import InputError
from data_contracts.sources import (
    MotionFile,
    find_keypoints,
    find_motion_files,
    short_names,
)


@pytest.fixture
def folder(tmp_path):
    """Two data sets in folders of their own, a third file whose list has its name, and what is none of them."""
    for name in ("cmu/motion.pkl", "cmu/clip_list.csv", "people/motion.npz", "people/clip_list.csv", "z.npy", "z.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("README.md", ".hidden.pkl", "cmu/poses.txt", ".cache/motion.pkl", "deep/er/est/motion.pkl"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_is_its_motion_files_and_those_of_its_subfolders_each_with_the_list_beside_it(folder):
    assert find_motion_files(folder) == [
        MotionFile(folder / "z.npy", folder / "z.csv"),
        MotionFile(folder / "cmu/motion.pkl", folder / "cmu/clip_list.csv"),
        MotionFile(folder / "people/motion.npz", folder / "people/clip_list.csv"),
    ]
    assert find_motion_files(str(folder / "cmu")) == find_motion_files([folder / "cmu/motion.pkl"])


def test_files_come_in_the_order_in_which_they_are_named_and_so_do_their_lists(folder):
    sources = [folder / "people", folder / "z.npy"]
    assert [file.path.name for file in find_motion_files(sources)] == ["motion.npz", "z.npy"]
    lists = [folder / "z.csv", folder / "cmu/clip_list.csv"]
    assert [file.clip_list for file in find_motion_files(sources, lists)] == lists
    assert find_motion_files(folder / "cmu/poses.txt", folder / "z.csv") == [
        MotionFile(folder / "cmu/poses.txt", folder / "z.csv")
    ]


def test_a_file_beside_which_no_list_stands_has_none(folder):
    (folder / "people/clip_list.csv").unlink()
    assert find_motion_files(folder / "people") == [MotionFile(folder / "people/motion.npz")]


def test_a_list_of_nobody_knows_which_file_is_refused_until_it_has_a_files_name(folder):
    (folder / "cmu/more.pkl").touch()
    for sources in (folder, folder / "cmu/motion.pkl"):
        with pytest.raises(InputError, match=r"cmu/clip_list\.csv: .*several .*motion\.pkl.*rename the clip list"):
            find_motion_files(sources)
    (folder / "cmu/more.csv").touch()
    lists = {file.path.name: file.clip_list.name for file in find_motion_files(folder / "cmu")}
    assert lists == {"more.pkl": "more.csv", "motion.pkl": "clip_list.csv"}


@pytest.mark.parametrize(
    ("sources", "lists", "message"),
    [
        (["gone.pkl"], None, r"gone\.pkl: no such file or folder"),
        (["z.npy"], ["gone.csv"], r"gone\.csv: no such file"),
        (["deep"], None, r"deep: no motion file \(\.pkl, .*\) in this folder"),
        ([".", "cmu/motion.pkl"], None, r"cmu/motion\.pkl: given twice"),
        (["people", "z.npy"], ["z.csv"], r"1 clip list\(s\) for 2 motion file\(s\): .* order motion\.npz, z\.npy"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(folder, sources, lists, message):
    with pytest.raises(InputError, match=message):
        find_motion_files([folder / name for name in sources], [folder / name for name in lists or []])


@pytest.mark.parametrize(
    ("start", "is_video"),
    [
        (b"\x00\x00\x00\x20ftypisom", True),
        (b"\x00\x00\x00\x14ftypqt  ", True),
        (b"RIFF\x24\x10\x00\x00AVI LIST", True),
        (b"\x1aE\xdf\xa3\x01\x00\x00\x00", True),
        (b"RIFF\x24\x10\x00\x00WAVE", False),
        (b'[{"image_id": 1}]', False),
        (b"PK\x03\x04ftyp", False),
        (b"", False),
    ],
)
def test_a_video_is_told_by_its_first_bytes_whatever_its_name(start, is_video, tmp_path):
    (tmp_path / "a.json").write_bytes(start)
    assert find_keypoints(tmp_path / "a.json").is_video == is_video


def test_files_are_told_apart_by_as_few_parts_as_it_takes(folder):
    same = [folder / "cmu/motion.pkl", folder / "people/motion.pkl"]
    assert short_names(same) == ["cmu/motion.pkl", "people/motion.pkl"]
    assert short_names(same[:1]) == ["motion.pkl"]


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="macOS has no such names")
@pytest.mark.parametrize("place", [b"caf\xe9.npz", b"caf\xe9/motion.npz", b"caf\xe9/1.json"])
def test_a_name_that_is_not_utf8_is_refused_and_shown(place, tmp_path):
    path = tmp_path / os.fsdecode(place)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    find = find_keypoints if path.suffix == ".json" else find_motion_files
    for source in (path, path.parent):
        with pytest.raises(InputError, match=r"caf\\udce9.*rename it"):
            find(source)
