"""Files of a store: sizes, lock files, and the removal of folders."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from data_contracts.store.digests import KINDS
from data_contracts.store.locks import note_of, try_lock

REMOVED, PARTIAL, LOCK = ".removed", ".partial", ".lock"  # endings of hidden names: `.<digest><ending>`
_PLACES = (*dict.fromkeys(KINDS.values()), "pipelines")  # folders with the locks of stages and pipelines


def hidden_names(store: Path, ending: str) -> list[Path]:
    """Return the hidden files or folders of all stages and pipelines with `ending`, e.g. `.lock` or `.partial`."""
    return [path for place in _PLACES for path in sorted((store / place).glob(f".*{ending}"))]


def digest_in(path: Path) -> str:
    """Return the digest in a hidden name, e.g. `.<digest>.lock`."""
    return path.name.removeprefix(".").rpartition(".")[0]


def hide(folder: Path) -> Path | None:
    """Rename a finished or partial folder to `.<digest>.removed`; return None while a process holds the stage's lock.

    No reader looks for the new name, so an interrupted deletion never leaves part of a result under the old name.
    """
    digest = folder.name.removeprefix(".").removesuffix(PARTIAL)
    lock, removed = folder.with_name(f".{digest}{LOCK}"), folder.with_name(f".{digest}{REMOVED}")
    with try_lock(lock) as is_free:
        if not is_free:
            return None
        if removed.exists():
            shutil.rmtree(removed)
        folder.replace(removed)
        note_of(lock).unlink(missing_ok=True)
        lock.unlink(missing_ok=True)  # a process that waits for the lock then opens a new file
    return removed


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    is_folder, total = path.is_dir() and not path.is_symlink(), 0
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    for file in below if is_folder else [path]:
        with suppress(OSError):  # the file was deleted in the meantime
            total += file.lstat().st_size
    return total
