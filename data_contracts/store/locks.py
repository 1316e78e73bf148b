"""Locks of the store: one process works at a digest, and whoever waits is told for whom.

The lock is the kernel's (`flock`), which lets go of it when its holder dies, however it dies. Beside it lies a note of
the holder, for people alone: nothing is decided by it, so one that a killed process left does no harm.
"""

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

FIRST_WORD_SECONDS = 3.0  # of waiting in silence: most waits are over by then
NEXT_WORD_SECONDS = 60.0

_LOG = logging.getLogger(__name__)


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; a wait of some seconds is logged, with who holds it.

    Parameters
    ----------
    what
        What is locked, as the log line names it.
    """
    lock, note = FileLock(path), note_of(path)
    _wait(lock, note, what)
    try:
        _write(note)
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


@contextmanager
def taken(path: Path, says_who: bool = False) -> Iterator[bool]:
    """The lock file `path` if nobody holds it, while the block runs; whether it is had.

    Parameters
    ----------
    says_who
        Leave a note of the holder, for those who find it held.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        if says_who:
            _write(note_of(path))
        yield True
    finally:
        if says_who:
            note_of(path).unlink(missing_ok=True)
        lock.release()


def holder(path: Path) -> str | None:
    """Who holds the lock file `path` now, in words; none where nobody does. The lock is not taken for it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not see each other
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(note_of(path))
    return None


def note_of(path: Path) -> Path:
    """Where the holder of the lock file `path` writes who it is."""
    return path.with_name(f"{path.name}.holder")


def _wait(lock: FileLock, note: Path, what: str) -> None:
    started, patience = time.monotonic(), FIRST_WORD_SECONDS
    while True:
        try:
            lock.acquire(timeout=patience)
            return
        except Timeout:
            waited = time.monotonic() - started
            _LOG.warning("%s: waiting for %.0f s; it is held by %s", what, waited, _read(note))
            patience = NEXT_WORD_SECONDS


def _write(note: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv), "since": time.time()}
    with suppress(OSError):  # a full disk is for the work to report
        note.write_text(json.dumps(holder), encoding="utf-8")


def _read(note: Path) -> str:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}: {holder['command']:.200}"
    except (OSError, ValueError, KeyError, TypeError):  # let go of this moment, or half written
        return f"a process that left no word of itself in {note}"
