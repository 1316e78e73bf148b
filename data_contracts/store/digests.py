"""Digests of files and of stages: the key of a stage is a digest of its name, parameters and inputs."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import STAGE_FOLDERS, Kind
from data_contracts.parameters.base import Parameters, without

CONTRACT_VERSION = 10  # raised if the same parameters and inputs give another result or another digest

PIPELINE = "pipeline"
KINDS = {stage: kind for stage, (kind, _) in STAGE_FOLDERS.items()}

_State = tuple[int, int, int, int]  # size, time of the last write, time of the last change, inode
_SETTLED_NANOSECONDS = 2_000_000_000  # since the last write
_known: dict[Path, tuple[_State, str]] = {}  # SHA-256 of the files that this process has read


@dataclass(frozen=True)
class StageKey:
    """Key of a stage's result: its name, its parameters and the digests of its inputs.

    The digest does not cover `data` and `paths`.
    """

    kind: Kind
    name: str
    parameters: Parameters
    inputs: dict[str, str]
    idle: frozenset[str] = frozenset()  # parameters without effect on these inputs, besides those of `identity`
    data: str = ""  # display name of the user's files, if the stage reads any
    paths: tuple[Path, ...] = field(default=(), compare=False)  # files and folders that the stage reads

    @property
    def settings(self) -> dict[str, Any]:
        """Parameters that the digest covers, as JSON; the manifest contains them."""
        return without(self.parameters.identity(), self.idle)

    @property
    def digest(self) -> str:
        """Digest of the key under the contract version of this code."""
        return stage_digest(self.name, CONTRACT_VERSION, self.settings, self.inputs)


def stage_digest(stage: str, contract_version: int, parameters: dict[str, Any], inputs: dict[str, str]) -> str:
    """Return the first 16 hex digits of the SHA-256 of a stage's key; `parameters` are JSON values."""
    key = {"stage": stage, "contract_version": contract_version, "parameters": parameters, "inputs": inputs}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def known_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as `file_digest`; a process reads the file again only if it may have changed.

    The file has changed if its size, times or inode differ. A file that was written less than two seconds before it was
    read is read again, because file systems store times in steps of up to two seconds.
    """
    path = path.absolute()
    try:
        now = path.stat()
    except OSError:
        return file_digest(path)  # raises
    state = (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)
    known = _known.get(path)
    if known and known[0] == state:
        return known[1]
    digest = file_digest(path)
    if time.time_ns() - now.st_mtime_ns > _SETTLED_NANOSECONDS:
        _known[path] = state, digest
    return digest
