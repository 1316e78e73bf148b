"""Who waits for whom: a held lock is told, a finished result asks for none."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_contracts.parameters import IngestParameters
from data_contracts.store import locks
from data_contracts.store.digests import Identity
from data_contracts.store.folders import open_stage
from data_contracts.store.locks import hold

IDENTITY = Identity("clips", "ingest", IngestParameters(), {"source": "abc"})
HOLDER = "import sys, time; from pathlib import Path; from data_contracts.store.locks import hold\n"
HOLDER += "with hold(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path/lock`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_waits_is_told_which_process_holds_the_lock(holder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "FIRST_WORD_SECONDS", 0.1)
    waiting = threading.Timer(0.3, holder.kill)
    waiting.start()
    with caplog.at_level(logging.WARNING), hold(tmp_path / "lock", "ingest abc"):
        waiting.join()
    line = caplog.messages[0]
    assert line.startswith("ingest abc: waiting")
    assert f"process {holder.pid} on {os.uname().nodename} since 2" in line
    assert str(tmp_path / "lock") in line  # an argument of its command


def test_a_holder_that_is_killed_leaves_a_note_that_stops_nobody(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock.holder").is_file()
    started = time.monotonic()
    with hold(tmp_path / "lock", "x"):
        assert str(os.getpid()) in (tmp_path / "lock.holder").read_text()
    assert time.monotonic() - started < 2
    assert not (tmp_path / "lock.holder").exists()


@pytest.mark.parametrize("note", [None, "", "{", "{}", "[1]", '{"pid": 1, "host": "h", "command": 3, "since": "then"}'])
def test_a_note_that_says_nothing_is_no_error(tmp_path, monkeypatch, caplog, note):
    monkeypatch.setattr(locks, "FIRST_WORD_SECONDS", 0.05)
    monkeypatch.setattr(locks, "_write", lambda path: path.write_text(note) if note is not None else None)
    released = threading.Event()

    def keep():
        with hold(tmp_path / "lock", "x"):
            released.set()
            time.sleep(0.3)

    thread = threading.Thread(target=keep)
    thread.start()
    released.wait()
    with hold(tmp_path / "lock", "x"):
        thread.join()
    assert "left no word" in caplog.text


def test_a_finished_result_is_answered_while_another_holds_its_lock(tmp_path):
    with open_stage(tmp_path, IDENTITY) as stage:
        (stage.folder / "data.txt").write_text("hello")
    answered = threading.Event()

    def ask():
        with open_stage(tmp_path, IDENTITY) as stage:
            assert stage.cached
        answered.set()

    with hold(tmp_path / "clips" / f".{IDENTITY.digest}.lock", "x"):
        before = sorted((tmp_path / "clips").iterdir())
        asking = threading.Thread(target=ask)
        asking.start()
        assert answered.wait(5)
        assert sorted((tmp_path / "clips").iterdir()) == before
    asking.join()
