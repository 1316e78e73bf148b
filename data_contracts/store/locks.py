"""Locks of the store: one process at a time works on a digest; a waiting process logs which process holds the lock.

The kernel holds the lock (`flock`) and releases it when its owner dies. Each owner also locks a note next to the lock
file. `lock_owner` tries to lock only the note, so the lock file itself stays free for other processes. The text of the
note is for people only; no decision depends on it.
"""

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from data_contracts.errors import InputError

FIRST_LOG_SECONDS = 3.0  # most waits are shorter
NEXT_LOG_SECONDS = 60.0

_LOG = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; a long wait is logged with the process that holds the lock.

    Raises
    ------
    InputError
        The lock file cannot be written.
    """
    with _refused_if_not_writable(path):
        lock = _wait(FileLock(path), note_of(path), name)
    with lock, _noted(note_of(path)):
        yield


@contextmanager
def try_lock(path: Path, with_note: bool = False) -> Iterator[bool]:
    """Try to lock the file `path` without waiting; yield whether it succeeded, and hold the lock while the block runs.

    With `with_note`, other processes find this process by `lock_owner`.

    Raises
    ------
    InputError
        The lock file cannot be written.
    """
    lock = None
    with suppress(Timeout), _refused_if_not_writable(path):
        lock = FileLock(path).acquire(blocking=False)
    if lock is None:
        yield False
        return
    with lock, _noted(note_of(path)) if with_note else nullcontext():
        yield True


def locked_if_writable(path: Path, name: str) -> AbstractContextManager[None]:
    """Return `locked` or, in a read-only folder, a context without effect, because no process can write there."""
    return locked(path, name) if os.access(path.parent, os.W_OK) else nullcontext()


def must_be_writable(store: Path) -> None:
    """Raise an InputError if the store is read-only."""
    if not os.access(store, os.W_OK):
        raise _not_writable(store, "it is read-only")


def lock_owner(path: Path) -> str | None:
    """Return a description of the process that holds the lock file `path`, or None if no process does.

    A process that took the lock without a note is not found, because it holds the lock for a moment only.
    """
    try:
        with note_of(path).open("rb") as note:
            fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: concurrent calls do not see each other
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(note_of(path))
    return None


def note_of(path: Path) -> Path:
    """Return the path of the note (text about the owner) for the lock file `path`."""
    return path.with_name(f"{path.name}.holder")


@contextmanager
def _refused_if_not_writable(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise _not_writable(path.parent, error.strerror) from error


def _not_writable(folder: Path, reason: str | None) -> InputError:
    return InputError(f"{folder}: cannot be written ({reason}); make it writable or pass another --store")


@contextmanager
def _noted(note: Path) -> Iterator[None]:
    """Hold the locked note while the block runs; other processes see the note only when it is locked and complete."""
    text = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv), "since": time.time()}
    new = note.with_name(f"{note.name}.new")
    with ExitStack() as stack:
        with suppress(OSError):  # the work reports a full disk
            file = stack.enter_context(new.open("wb", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(text).encode())
            new.replace(note)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


def _wait(lock: FileLock, note: Path, name: str) -> AbstractContextManager[object]:
    started, patience = time.monotonic(), FIRST_LOG_SECONDS
    while True:
        try:
            return lock.acquire(timeout=patience)
        except Timeout:
            waited = time.monotonic() - started
            _LOG.warning("%s: waiting for its lock for %.0f s; the lock is held by %s", name, waited, _read(note))
            patience = NEXT_LOG_SECONDS


def _read(note: Path) -> str:
    try:
        owner = json.loads(note.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
        return f"process {owner['pid']} on {owner['host']} since {since}: {owner['command']:.200}"
    except (OSError, ValueError, KeyError, TypeError):  # released at this moment, or half written
        return f"an unknown process ({note} is empty)"
