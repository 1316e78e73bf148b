"""Output folder of lifting: it appears complete, is replaced by a later lifting, and user files are not touched."""

import threading

import pytest

from data_contracts.errors import InputError
from data_contracts.motion.motion import write_motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports import writing
from tasks.lifting.exports.writing import write_people
from tests.tasks.lifting.exports.motions import motion_of, tumbling


@pytest.fixture
def lifted(tmp_path):
    """Return the folder of a lift stage with two people."""
    folder = tmp_path / "stage"
    for name in ("person-0", "person-1"):
        (folder / name).mkdir(parents=True)
        write_motion(motion_of(tumbling(1)), folder / name / "motion.npz")
    (folder / "playing.html").write_text("a page")
    (folder / "manifest.json").write_text("{}")
    return folder


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


WRITTEN = ["person-0/motion.npz", "person-1/motion.npz", "playing.html"]


@pytest.mark.parametrize(
    "mine",
    [
        "person-0.json",  # a detector's file in the output folder
        "person-photos/a.jpg",
        "person-0/video.mp4",
        "playing.html",
        "person-0/motion.npz/kept",
    ],
)
def test_user_files_with_similar_names_are_not_replaced(mine, lifted, tmp_path):
    out = tmp_path / "out"
    (out / mine).parent.mkdir(parents=True)
    (out / mine).write_text("mine")
    with pytest.raises(InputError, match="out: contains files that lifting did not write"):
        write_people(lifted, [], out)
    assert names(out) == [mine]


def test_user_notes_in_a_person_folder_are_not_deleted(lifted, tmp_path):
    out = tmp_path / "out"
    write_people(lifted, [ExportFormat.CSV], out)
    (out / "person-1" / "notes.txt").write_text("she limps")
    with pytest.raises(InputError, match=r"\(person-1/notes\.txt\)"):
        write_people(lifted, [], out)
    assert "person-1/notes.txt" in names(out)


def test_failure_keeps_earlier_files(lifted, tmp_path, monkeypatch):
    def fail(motion, path):
        path.write_text("half")
        raise OSError(28, "disk full")

    write_people(lifted, [], tmp_path / "out")
    monkeypatch.setitem(writing._WRITERS, ExportFormat.JSON, fail)
    for out in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(InputError, match=f"{out}: cannot be written \\(disk full\\)"):
            write_people(lifted, [ExportFormat.CSV, ExportFormat.JSON], out)
    assert names(tmp_path / "out") == WRITTEN
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "stage"]


def test_file_in_place_of_the_folder_is_refused(lifted, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file; pass an output folder"):
        write_people(lifted, [], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_link_does_not_count_as_a_person_folder(lifted, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "person-0").symlink_to(lifted / "person-0")
    with pytest.raises(InputError, match="contains files that lifting did not write"):
        write_people(lifted, [], tmp_path / "out")
    assert (lifted / "person-0" / "motion.npz").is_file()


def test_existing_folder_is_kept(lifted, tmp_path, monkeypatch):
    """Links, mounted volumes and the working directory of a shell stay valid."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    monkeypatch.chdir(tmp_path / "there")
    for out in (tmp_path / "link", tmp_path / "there" / "."):
        before = (tmp_path / "there").stat().st_ino
        write_people(lifted, [], out)
        assert (tmp_path / "there").stat().st_ino == before
    write_people(lifted, [], type(tmp_path)("."))
    assert names(tmp_path / "there") == WRITTEN
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "stage", "there"]


def test_partial_folder_of_a_killed_lifting_is_ignored(lifted, tmp_path):
    write_people(lifted, [], tmp_path / "out")
    (tmp_path / "out" / ".lifting-0123abcd.partial").mkdir()
    write_people(lifted, [], tmp_path / "out")
    assert names(tmp_path / "out") == WRITTEN


def test_concurrent_liftings_to_one_folder_are_serialised(lifted, tmp_path):
    write_people(lifted, [], tmp_path / "out")
    failed = []

    def again():
        try:
            for _ in range(20):
                write_people(lifted, [], tmp_path / "out")
        except InputError as error:
            failed.append(error)

    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert names(tmp_path / "out") == WRITTEN
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "stage"]


def test_invalid_folder_name_is_refused(lifted, tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        write_people(lifted, [], tmp_path / ("n" * 300))
