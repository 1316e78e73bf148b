"""Locks: a waiting process logs the owner, a test of a lock does not lock it, and a finished result needs no lock."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from data_contracts.store import locks
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import find_stage, open_stage
from data_contracts.store.locks import locked

KEY = StageKey("clips", "ingest", IngestParameters(), {"source": "abc"})
OWNER = "import sys, time; from pathlib import Path; from data_contracts.store.locks import locked\n"
OWNER += "with locked(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def owner(tmp_path):
    """Another process that holds `tmp_path/lock`."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_waiting_process_logs_which_process_holds_the_lock(owner, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "FIRST_LOG_SECONDS", 0.1)
    waiting = threading.Timer(0.3, owner.kill)
    waiting.start()
    with caplog.at_level(logging.WARNING), locked(tmp_path / "lock", "ingest abc"):
        waiting.join()
    line = caplog.messages[0]
    assert line.startswith("ingest abc: waiting")
    assert f"process {owner.pid} on {os.uname().nodename} since 2" in line
    assert str(tmp_path / "lock") in line  # an argument of its command


def test_a_killed_owner_leaves_a_note_that_blocks_no_process(owner, tmp_path):
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert (tmp_path / "lock.holder").is_file()
    started = time.monotonic()
    with locked(tmp_path / "lock", "x"):
        assert str(os.getpid()) in (tmp_path / "lock.holder").read_text()
    assert time.monotonic() - started < 2
    assert not (tmp_path / "lock.holder").exists()


@pytest.mark.parametrize("note", [None, "", "{", "{}", "[1]", '{"pid": 1, "host": "h", "command": 3, "since": "then"}'])
def test_a_damaged_note_of_the_owner_is_not_an_error(tmp_path, monkeypatch, caplog, note):
    monkeypatch.setattr(locks, "FIRST_LOG_SECONDS", 0.05)
    released = threading.Event()

    def keep():
        with locked(tmp_path / "lock", "x"):
            (tmp_path / "lock.holder").unlink()
            if note is not None:
                (tmp_path / "lock.holder").write_text(note)
            released.set()
            time.sleep(0.3)

    thread = threading.Thread(target=keep)
    thread.start()
    released.wait()
    with locked(tmp_path / "lock", "x"):
        thread.join()
    assert "held by an unknown process" in caplog.text


def test_the_owner_of_a_lock_is_reported_as_long_as_it_lives(owner, tmp_path):
    assert f"process {owner.pid} on" in locks.lock_owner(tmp_path / "lock")
    owner.kill()
    owner.wait()
    assert (tmp_path / "lock.holder").is_file()  # the killed process left its note
    assert locks.lock_owner(tmp_path / "lock") is None
    assert locks.lock_owner(tmp_path / "other") is None
    with locks.try_lock(tmp_path / "lock", with_note=True) as is_free:
        assert is_free
        assert f"process {os.getpid()} on" in locks.lock_owner(tmp_path / "lock")
    assert locks.lock_owner(tmp_path / "lock") is None


def test_an_attempt_on_a_free_lock_never_fails_while_other_processes_test_it(tmp_path):
    look = "import sys; from pathlib import Path; from data_contracts.store.locks import lock_owner\n"
    look += "print('looks', flush=True)\nwhile True: lock_owner(Path(sys.argv[1]))"
    lookers = [
        subprocess.Popen([sys.executable, "-c", look, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        assert [looker.stdout.readline() for looker in lookers] == ["looks\n", "looks\n"]
        refused, until = 0, time.monotonic() + 2
        while time.monotonic() < until:
            for with_note in (False, True):
                with locks.try_lock(tmp_path / "lock", with_note) as is_free:
                    refused += not is_free
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()
            looker.stdout.close()
    assert refused == 0


def test_a_lock_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "lock").mkdir()
    for attempt in (locked(tmp_path / "lock", "x"), locks.try_lock(tmp_path / "lock")):
        with pytest.raises(InputError, match="cannot be written"), attempt:
            pass


def test_a_finished_result_is_found_while_another_process_holds_its_lock(tmp_path):
    with open_stage(tmp_path, KEY) as stage:
        (stage.folder / "data.txt").write_text("hello")
    answered = threading.Event()

    def ask():
        assert find_stage(tmp_path, KEY).cached
        answered.set()

    with locked(tmp_path / "clips" / f".{KEY.digest}.lock", "x"):
        before = sorted((tmp_path / "clips").iterdir())
        asking = threading.Thread(target=ask)
        asking.start()
        assert answered.wait(5)
        assert sorted((tmp_path / "clips").iterdir()) == before
    asking.join()
