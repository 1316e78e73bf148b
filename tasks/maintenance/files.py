"""Hidden files of a store, named `.<digest><ending>`, and sizes."""

import os
from contextlib import suppress
from pathlib import Path

from data_contracts.store.digests import KINDS

REMOVED, PARTIAL, LOCK = ".removed", ".partial", ".lock"  # endings
_PLACES = (*dict.fromkeys(KINDS.values()), "pipelines")  # folders with the locks of stages and pipelines


def hidden_names(store: Path, ending: str) -> list[Path]:
    """Return the hidden files or folders of all stages and pipelines with `ending`, e.g. `.lock` or `.partial`."""
    return [path for place in _PLACES for path in sorted((store / place).glob(f".*{ending}"))]


def digest_in(path: Path) -> str:
    """Return the digest in a file name `.<digest><ending>`; in the lock of a pipeline, this is the run id."""
    return path.name.removeprefix(".").rpartition(".")[0]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    is_folder, total = path.is_dir() and not path.is_symlink(), 0
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    for file in below if is_folder else [path]:
        with suppress(OSError):  # the file was deleted in the meantime
            total += file.lstat().st_size
    return total
