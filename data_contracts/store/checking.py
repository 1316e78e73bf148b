"""Verification of stage folders: the digest in the manifest and the SHA-256 of every file.

The bounds of tables are not checked here: a stage checks the bounds of its tables before it writes them.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError, some
from data_contracts.store.digests import KINDS, known_digest
from data_contracts.store.manifests import MANIFEST, read_manifest, rebuild

OnShare = Callable[[float], None]  # called with the completed share in [0, 1]

_HASHING_THREADS = 2
_LOG_SECONDS = 1.0  # shorter checks are not logged
_DIGEST = re.compile("[0-9a-f]{16}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """Result of a check without faults."""

    stage: str
    digest: str
    files: int
    bytes: int
    seconds: float

    def describe(self) -> str:
        """Return one line for the terminal: stage, digest, and number and size of the files."""
        return (
            f"{self.stage} {self.digest}: {self.files} files, {self.bytes / 1e6:.1f} MB match the manifest"
            f" ({self.seconds:.1f} s)"
        )


def check_folder(folder: Path, on_share: OnShare = lambda _: None) -> Checked:
    """Check that a stage folder contains exactly the files of its manifest, each with the recorded SHA-256.

    Hidden files that the manifest does not list are ignored, because no stage reads them.

    Raises
    ------
    InputError
        The manifest is damaged, or a file is missing, damaged or not listed.
    """
    manifest = read_manifest(folder)
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    visible = [str(path) for path in files if not any(part.startswith(".") for part in path.parts)]
    listed = {MANIFEST, *manifest["files"]}
    extra = [f"{name}: is not listed in {MANIFEST}" for name in visible if name not in listed]
    return _check(folder, manifest, manifest["files"], extra, on_share)


def verify_input(path: Path) -> None:
    """Check a stage folder or one file of it, and raise an InputError as `check_folder`; accept any other file."""
    if path.is_dir():
        checked = check_folder(path)
        if checked.seconds > _LOG_SECONDS:
            _LOG.info("verified %s", checked.describe())
        return
    folder = path.absolute().parent
    manifest = _manifest_around(folder)
    if manifest and path.name in manifest["files"]:
        _check(folder, manifest, {path.name: manifest["files"][path.name]})


def _check(
    folder: Path,
    manifest: dict[str, Any],
    files: dict[str, str],
    extra: Sequence[str] = (),
    on_share: OnShare = lambda _: None,
) -> Checked:
    """Raise an InputError if one of `files` (name -> SHA-256) differs in the folder, or if there are `extra` faults."""
    start, done = time.perf_counter(), 0
    sizes = {name: (folder / name).stat().st_size for name in files if (folder / name).is_file()}
    faults = [f"{name}: is missing" for name in sorted(files.keys() - sizes.keys())]
    total = sum(sizes.values())
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for name, fault in zip(sizes, pool.map(lambda name: _fault(folder / name, files[name]), sizes), strict=True):
            faults += [f"{name}: {fault}"] if fault else []
            done += sizes[name]
            on_share(done / total if total else 1.0)
    if faults or extra:
        raise InputError(f"{folder}: the result is damaged: {some([*faults, *extra])}; {rebuild(folder, manifest)}")
    return Checked(manifest["stage"], manifest["digest"], len(sizes), total, time.perf_counter() - start)


def _fault(path: Path, expected: str) -> str | None:
    try:
        return None if known_digest(path) == expected else f"its SHA-256 is not the one in {MANIFEST}"
    except InputError as error:
        return str(error).removeprefix(f"{path.absolute()}: ")


def _manifest_around(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of the stage folder that a file is in; None if no stage wrote the folder."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return read_manifest(folder)
    except InputError:  # another program's manifest.json, unless the folder has the name of a stage folder
        if folder.parent.name in KINDS.values() and _DIGEST.fullmatch(folder.name):
            raise
        return None
