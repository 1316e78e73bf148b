"""The id of a store, which distinguishes stores that share an MLflow server; a copy of a store gets a new id.

The file `.id` contains the id and, as JSON, the recorded place: inode of the file, path and parent folder of the store.

- A store at the recorded path keeps its id, also if it was restored there and the inode differs.
- Otherwise, if another store with the same id is at the recorded path, this store is a copy.
- Otherwise, if the inode is the recorded one, the store was moved (`mv` keeps the inode).
- With another inode, the store was moved only if its former parent folder exists and no longer contains it.
- In doubt it is a copy, because two stores with one id would delete each other's runs on a shared server.
"""

import json
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from data_contracts.errors import InputError
from tasks.tracking.names import ID_FILE, store_id


@dataclass(frozen=True)
class _Record:
    """Content of the file `.id`. `former`: ids of the stores from which this store was copied; runs may have them."""

    path: str
    inode: int
    parent: str
    former: tuple[str, ...] = ()


def name_store(store: Path) -> None:
    """Give a new or copied store a new id; record the new place of a moved store.

    The caller holds the lock of the store. A damaged or read-only id file raises an InputError.
    """
    file = store / ID_FILE
    try:
        if not file.exists():
            _write(store, uuid.uuid4().hex, ())
            return
        name, record = store_id(store), _read(file)
        if record is None:  # an earlier version wrote the id alone
            _write(store, name, ())
        elif (record.inode, record.path) == (file.stat().st_ino, str(store)):
            return
        elif _is_copy(store, name, record):
            _write(store, uuid.uuid4().hex, (*record.former, name))
        elif record.path == str(store) or not _is_same_file(Path(record.path) / ID_FILE, file):
            _write(store, name, record.former)  # the store was moved, or restored in place; else it has a second path
    except OSError as error:
        raise InputError(f"{file}: cannot be read or written ({error.strerror}); check its permissions") from error


def former_ids(store: Path) -> tuple[str, ...]:
    """Return earlier ids of this store with which its own database may still have runs."""
    record = _read(store / ID_FILE)
    return record.former if record else ()


def forget_former_ids(store: Path) -> None:
    """Delete the list of former store ids from the file `ID_FILE`.

    Call this function only after every run in the store's database has the new id.
    """
    _write(store, store_id(store), ())


def _is_copy(store: Path, name: str, record: _Record) -> bool:
    original, file = Path(record.path), store / ID_FILE
    if _is_same_file(original / ID_FILE, file):
        return False
    with suppress(OSError, ValueError):
        if store_id(original) == name:
            return True
    return file.stat().st_ino != record.inode and not _is_gone(original, record.parent)


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def _is_gone(original: Path, parent: str) -> bool:
    """Return whether the former parent folder of the store exists and no longer contains the store."""
    try:
        original.lstat()
    except FileNotFoundError:
        return _folder_of(original.parent) == parent
    except OSError:
        pass
    return False


def _folder_of(parent: Path) -> str | None:
    """Return a name that identifies the folder on all machines, or None if the folder does not exist."""
    try:
        status = parent.stat()
    except OSError:
        return None
    return f"{socket.gethostname()} {status.st_dev} {status.st_ino}"


def _read(file: Path) -> _Record | None:
    _, _, text = file.read_text(encoding="utf-8").partition("\n")
    if not text:
        return None
    try:
        values = json.loads(text)
        return _Record(values["path"], values["inode"], values["parent"], tuple(values["former"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is damaged: keep its first line (the store's id), remove the rest") from error


def _write(store: Path, name: str, former: tuple[str, ...]) -> None:
    """Write the file atomically; the content has the inode of the written file."""
    new = store / f"{ID_FILE}.partial"
    new.unlink(missing_ok=True)
    with new.open("x", encoding="utf-8") as file:
        record = _Record(str(store), os.fstat(file.fileno()).st_ino, _folder_of(store.parent) or "", former)
        file.write(f"{name}\n{json.dumps(asdict(record))}")
        file.flush()
        os.fsync(file.fileno())
    new.replace(store / ID_FILE)
