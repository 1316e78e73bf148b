"""Digests of source files: every file and clip list counts, and a process reads a large file once."""

import os

import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import EvaluateParameters, IngestParameters
from data_contracts.sources import MotionFile, real_video_input
from data_contracts.store import digests
from data_contracts.store.digests import stage_key


@pytest.fixture
def reads(monkeypatch):
    """Files whose bytes were read for a digest."""
    files, digest = [], digests.file_digest
    monkeypatch.setattr(digests, "file_digest", lambda path: files.append(path) or digest(path))
    return files


def digest_of(source):
    return stage_key("ingest", {"source": [MotionFile(source)]}, IngestParameters()).digest


def age(path, seconds):
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))


def test_a_motion_file_is_read_once_and_again_after_it_changed(tmp_path, reads):
    source = tmp_path / "motion.pkl"
    source.write_bytes(b"one")
    age(source, 60)
    first = digest_of(source)
    assert digest_of(source) == first
    assert reads == [source]
    source.write_bytes(b"two")
    age(source, 30)
    assert digest_of(source) != first
    assert reads == [source] * 2


def test_a_file_written_just_now_is_read_every_time(tmp_path, reads):
    source = tmp_path / "motion.pkl"
    source.write_bytes(b"one")
    state = source.stat()
    first = digest_of(source)
    source.write_bytes(b"two")
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))  # size, time and inode are what they were
    assert digest_of(source) != first


def test_a_missing_file_is_reported_by_name(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pkl: cannot be read"):
        digest_of(tmp_path / "gone.pkl")


def test_every_file_and_list_counts_and_so_does_their_order(tmp_path):
    one, two, csv = (tmp_path / name for name in ("one.pkl", "two.pkl", "list.csv"))
    for file in (one, two, csv):
        file.write_text(file.name)
    alone = stage_key("ingest", {"source": [MotionFile(one, csv)]}, IngestParameters())
    assert alone.inputs.keys() == {"source", "clip_list"}
    inputs = [
        [MotionFile(one), MotionFile(two)],
        [MotionFile(two), MotionFile(one)],
        [MotionFile(one, csv), MotionFile(two)],
        [MotionFile(one), MotionFile(two, csv)],
        [MotionFile(one)],
    ]
    digests = {stage_key("ingest", {"source": files}, IngestParameters()).digest for files in inputs}
    assert len(digests | {alone.digest}) == 6


def test_the_contents_of_videos_with_truth_count_and_their_folder_does_not(tmp_path):
    def key(folder):
        return stage_key("evaluate", real_video_input(str(folder)), EvaluateParameters(real_video=str(folder))).digest

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("walk_mediapipe.json", "walk_truth.npz"):
            (tmp_path / name / file).write_bytes(file.encode())
    first = key(tmp_path / "one")
    assert key(tmp_path / "two") == first
    (tmp_path / "two" / "notes.txt").write_text("not read")
    assert key(tmp_path / "two") == first
    (tmp_path / "two" / "walk_mediapipe.json").write_text("changed")
    assert key(tmp_path / "two") != first
    assert stage_key("evaluate", real_video_input(None), EvaluateParameters()).digest != first
