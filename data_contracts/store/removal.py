"""Taking folders, partial folders and locks out of a store.

Notable decisions:
- a folder is renamed to `.<digest>.removed` and then deleted: a kill in between leaves a name that no reader looks for,
  and `hidden` finds it again. There is no moment at which half a folder bears the name of a whole one;
- it is renamed by whoever has its stage's lock, without waiting: where a process is at work, nothing is done;
- what the dead left is told by the kernel: a lock file that nobody holds is free, whatever its note says.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data_contracts.store.digests import KINDS
from data_contracts.store.locks import note_of, taken

_REMOVED, _PARTIAL, _LOCK = ".removed", ".partial", ".lock"
_PLACES = (*dict.fromkeys(KINDS.values()), "pipelines")  # folders of a store in which stages and pipelines have locks


def hide(folder: Path) -> Path | None:
    """Give a finished or partial folder a name that nobody looks for, and forget its lock; none: it is worked at."""
    digest = folder.name.removeprefix(".").removesuffix(_PARTIAL)
    lock, gone = folder.with_name(f".{digest}{_LOCK}"), folder.with_name(f".{digest}{_REMOVED}")
    with taken(lock) as ours:
        if not ours:
            return None
        delete(gone)
        folder.replace(gone)
        _forget(lock)
    return gone


def delete(path: Path) -> None:
    """A file or folder, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget_lock(lock: Path) -> bool:
    """Delete a lock file and the note beside it, unless somebody holds it."""
    with taken(lock) as ours:
        if ours:
            _forget(lock)
        return ours


def hidden(store: Path) -> list[Path]:
    """Folders that a process which was killed had renamed, and not deleted."""
    return _named(store, _REMOVED)


def partials(store: Path) -> list[Path]:
    """Folders that a stage was or is at work in."""
    return _named(store, _PARTIAL)


def locks(store: Path) -> list[Path]:
    """Lock files of stages and pipelines, held or not."""
    return _named(store, _LOCK)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(_sizes(str(path)))
    except OSError:
        return 0


def last_written(path: Path) -> float:
    """When a file below a folder, or the folder itself, was last written; seconds since 1970."""
    times = [path.stat().st_mtime]
    times += [file.stat().st_mtime for file in path.rglob("*") if file.exists()]
    return max(times)


def _named(store: Path, ending: str) -> list[Path]:
    return [path for place in _PLACES for path in sorted((store / place).glob(f".*{ending}"))]


def _forget(lock: Path) -> None:
    """While it is held: who opened the file before finds it without a name once it gets it, and opens the next."""
    note_of(lock).unlink(missing_ok=True)
    lock.unlink(missing_ok=True)


def _sizes(folder: str) -> Iterator[int]:
    """Of all files below; `os.scandir` keeps a store of many thousands within a second."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
