"""A folder of lifted people: made whole, replaced where a lifting wrote it, and nobody's own files touched."""

import threading

import pytest

from data_contracts.errors import InputError
from data_contracts.motion.motion import write_motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports.folders import write_people
from tests.tasks.lifting.exports.motions import motion_of, tumbling


@pytest.fixture
def lifted(tmp_path):
    """A stage's folder of two people."""
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
        "person-0.json",  # what a detector wrote, beside which somebody lifts it
        "person-photos/a.jpg",
        "person-0/video.mp4",
        "playing.html",
        "person-0/motion.npz/kept",
    ],
)
def test_what_only_has_such_a_name_is_no_liftings_and_stays(mine, lifted, tmp_path):
    out = tmp_path / "out"
    (out / mine).parent.mkdir(parents=True)
    (out / mine).write_text("mine")
    with pytest.raises(InputError, match="out: holds what no lifting wrote"):
        write_people(lifted, [], out)
    assert names(out) == [mine]


def test_notes_beside_a_motion_are_not_thrown_away_with_it(lifted, tmp_path):
    out = tmp_path / "out"
    write_people(lifted, [ExportFormat.CSV], out)
    (out / "person-1" / "notes.txt").write_text("she limps")
    with pytest.raises(InputError, match=r"\(person-1/notes\.txt\)"):
        write_people(lifted, [], out)
    assert "person-1/notes.txt" in names(out)


def test_a_link_is_never_taken_for_a_person(lifted, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "person-0").symlink_to(lifted / "person-0")
    with pytest.raises(InputError, match="holds what no lifting wrote"):
        write_people(lifted, [], tmp_path / "out")
    assert (lifted / "person-0" / "motion.npz").is_file()


def test_where_the_folder_is_there_it_stays_the_same_folder(lifted, tmp_path, monkeypatch):
    """A link stays a link, a mounted volume can be written to, and a shell that stands in it sees the files."""
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


def test_what_a_killed_lifting_left_stands_in_nobodys_way(lifted, tmp_path):
    write_people(lifted, [], tmp_path / "out")
    (tmp_path / "out" / ".lifting-0123abcd.partial").mkdir()
    write_people(lifted, [], tmp_path / "out")
    assert names(tmp_path / "out") == WRITTEN


def test_several_liftings_to_one_folder_come_one_after_the_other(lifted, tmp_path):
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


def test_a_name_that_no_folder_can_have_is_refused(lifted, tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        write_people(lifted, [], tmp_path / ("n" * 300))
