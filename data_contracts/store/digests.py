"""Digests: of files, and of what a stage's result is a function of."""

import hashlib
import io
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_contracts.errors import InputError
from data_contracts.parameters.base import Parameters, without

CONTRACT_VERSION = 10  # raised whenever the same parameters and inputs would give another result, or another digest

Kind = Literal["synthetic", "clips", "windows", "runs", "baselines", "reports", "keypoints", "motions", "pipelines"]

KINDS: dict[str, Kind] = {  # stage -> the kind of folder that it leaves
    "synthesise": "synthetic",
    "ingest": "clips",
    "convert": "windows",
    "pretrain": "runs",
    "finetune": "runs",
    "baselines": "baselines",
    "evaluate": "reports",
    "keypoints": "keypoints",
    "lift": "motions",
}


_State = tuple[int, int, int, int]  # size, time of the last write, time of the last change, inode
_SETTLED_NANOSECONDS = 2_000_000_000  # since the last write
_known: dict[Path, tuple[_State, str]] = {}  # SHA-256 of the files that this process has read


@dataclass(frozen=True)
class Identity:
    """What a stage's result is a function of: its name, parameters and input digests (name -> digest).

    `idle` names parameters that these inputs put out of effect, beside those that `Parameters.identity` leaves out.
    `data` is what people call files that were given; it is in no digest.
    `paths` are the files and stage folders that the stage reads. They are in no digest either: `open_stage` verifies
    those that a stage wrote.
    """

    kind: Kind
    name: str
    parameters: Parameters
    inputs: dict[str, str]
    idle: frozenset[str] = frozenset()
    data: str = ""
    paths: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters that count, as JSON; what the manifest holds."""
        return without(self.parameters.identity(), self.idle)

    @property
    def digest(self) -> str:
        """`stage_digest` under the contract version of this code."""
        return stage_digest(self.name, CONTRACT_VERSION, self.settings, self.inputs)


def stage_digest(stage: str, contract_version: int, parameters: dict[str, Any], inputs: dict[str, str]) -> str:
    """16 hex digits of SHA-256 of what a stage's result is a function of; `parameters` as JSON has them."""
    identity = {
        "stage": stage,
        "contract_version": contract_version,
        "parameters": parameters,
        "inputs": inputs,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex.

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
    """Return the SHA-256 of a file, as hex; a process reads the file once, and again if it may have changed.

    The file has changed if its size, times or inode differ. A file that was written less than two seconds before it was
    read is read again, because file systems store times in steps of up to two seconds.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    path = path.absolute()
    try:
        state = _state(path)
    except OSError:
        return file_digest(path)  # raises
    known = _known.get(path)
    if known and known[0] == state:
        return known[1]
    digest = file_digest(path)
    _keep(path, state, digest)
    return digest


def remember_digest(path: Path, digest: str) -> None:
    """Record the SHA-256 of a file that this process has just written, so that `known_digest` does not read it."""
    _keep(path.absolute(), _state(path), digest)


def _keep(path: Path, state: _State, digest: str) -> None:
    if time.time_ns() - state[1] > _SETTLED_NANOSECONDS:
        _known[path] = state, digest


def _state(path: Path) -> _State:
    now = path.stat()
    return now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino


class DigestedFile(io.FileIO):
    """A new file whose SHA-256 is taken as it is written, from its first byte to its last; `digest` is it, as hex."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x")
        self._sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        """All of `data`."""
        view = memoryview(data).cast("B")
        self._sha256.update(view)
        done = 0
        while done < len(view):
            done += super().write(view[done:])
        return done

    @property
    def digest(self) -> str:
        """Of what has been written so far."""
        return self._sha256.hexdigest()
