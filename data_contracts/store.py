"""The store: one folder per stage result, named after the digest of what it was made from.

A stage is a function of its digests. It writes into `<kind>/.<digest>.partial`, its `manifest.json` last, and the
folder is renamed when complete: a reader sees all or nothing. A lock beside it lets one process work at a digest; a
second one waits and then finds the folder. From this follow caching, retry, and, where `resume` keeps the partial
folder, resume.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import BaseModel

from data_contracts.errors import InputError

CONTRACT_VERSION = 3  # raised whenever the same parameters and inputs would give another result
MANIFEST = "manifest.json"
CHECKPOINT_FILE = "model.safetensors"  # of a run folder: its best network
PACKAGES = ("numpy", "pandas", "pyarrow", "pandera", "torch", "lightning-fabric", "safetensors", "pose-uplift")

_SEAL = ',\n "manifest_digest": '  # the last entry of a manifest: SHA-256 of the text before it

Kind = Literal["synthetic", "clips", "windows", "runs", "reports", "pipelines"]


@dataclass
class Stage:
    """One stage at work: `folder` is where to write (or, when `cached`, where the result already is).

    The work adds to `counts` and `statistics` before the `with` block of `open_stage` ends.
    """

    name: str
    digest: str
    folder: Path
    cached: bool
    parameters: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 of files that were digested while they were written
    seconds: float = 0.0
    resumed: bool = False  # an earlier run began it and was killed


def default_store(store: str | Path | None = None) -> Path:
    """Root of the store: the one given, else `UPLIFT_STORE`, else `./store`; absolute."""
    return Path(store or os.environ.get("UPLIFT_STORE") or "store").resolve()


@dataclass(frozen=True)
class Identity:
    """What a stage's result is a function of: its name, parameters and input digests (name -> digest)."""

    kind: Kind
    name: str
    parameters: BaseModel
    inputs: dict[str, str]

    @property
    def digest(self) -> str:
        """`stage_digest` under the contract version of this code."""
        return stage_digest(self.name, CONTRACT_VERSION, self.parameters.model_dump(mode="json"), self.inputs)


def stage_digest(stage: str, contract_version: int, parameters: dict[str, Any], inputs: dict[str, str]) -> str:
    """16 hex digits of SHA-256 of what a stage's result is a function of; `parameters` as JSON has them."""
    identity = {
        "stage": stage,
        "contract_version": contract_version,
        "parameters": parameters,
        "inputs": inputs,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def open_stage(store: Path, identity: Identity, resume: bool = False) -> Iterator[Stage]:
    """Run one stage: yields a `Stage` to write into, and completes its folder when the block ends without an error.

    Parameters
    ----------
    store
        Root of the store.
    resume
        Keep what a killed run left in the partial folder, and leave it there when this run fails too.

    Raises
    ------
    InputError
        The store cannot be written.
    """
    start = time.perf_counter()
    digest = identity.digest
    folder, partial = store / identity.kind / digest, store / identity.kind / f".{digest}.partial"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"store {store}: cannot be written ({error.strerror}); pass another --store") from error
    with FileLock(folder.parent / f".{digest}.lock"):
        stage = find_stage(store, identity)
        if stage is not None:
            yield stage
        else:
            resumed = partial.is_dir()
            if not resume:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=True)
            parameters = identity.parameters.model_dump(mode="json")
            stage = Stage(identity.name, digest, partial, False, parameters, identity.inputs, resumed=resumed)
            try:
                yield stage
            except BaseException:
                if not resume:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            stage.seconds = time.perf_counter() - start
            _write_manifest(stage)
            partial.replace(folder)
            _sync(folder.parent)
            stage.folder = folder
        stage.seconds = time.perf_counter() - start


def find_stage(store: Path, identity: Identity) -> Stage | None:
    """The finished stage of that identity, if the store has it."""
    folder = store / identity.kind / identity.digest
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    return Stage(
        identity.name,
        identity.digest,
        folder,
        True,
        manifest["parameters"],
        identity.inputs,
        manifest["counts"],
        manifest["statistics"],
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage folder.

    Raises
    ------
    InputError
        The folder has no readable manifest: it is no stage result, or not a finished one. Or the manifest is not, to
        the byte, the one that was written.
    """
    try:
        text = (folder / MANIFEST).read_bytes().decode()
        manifest = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a finished stage folder (no readable {MANIFEST})") from error
    if text != _sealed(text.rpartition(_SEAL)[0]):
        raise InputError(
            f"{folder / MANIFEST}: is not as it was written: its manifest_digest is missing or of other text; it is"
            " damaged, was edited, or comes from an earlier version: remove the folder and run the stage again"
        )
    return manifest


def resolve(store: Path, kind: Kind | Literal["*"], reference: str | Path) -> Path:
    """The finished stage folder that a path, or a digest (or its unambiguous beginning) in the store, stands for.

    A kind `*` looks among all kinds.
    """
    for candidate in (Path(reference), store / kind / str(reference)):
        if (candidate / MANIFEST).is_file():
            return candidate.resolve()
    matches = sorted(store.glob(f"{kind}/{reference}*/{MANIFEST}")) if str(reference).isalnum() else []
    if len(matches) != 1:
        found = "no" if not matches else f"{len(matches)}"
        what = "stage" if kind == "*" else kind
        raise InputError(f"{reference}: {found} finished {what} folder of that path or digest in {store}")
    return matches[0].parent.resolve()


def resolve_checkpoint(store: Path, reference: str | Path) -> Path:
    """The checkpoint that a `.safetensors` or `.bin` path, or a run folder's path or digest, stands for."""
    if str(reference).endswith((".safetensors", ".bin")):
        return Path(reference)
    return resolve(store, "runs", reference) / CHECKPOINT_FILE


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


def package_versions() -> dict[str, str]:
    """Versions of what computes: Python and the packages named in `PACKAGES` that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON at `path`: all of it or nothing, on disk when this returns."""
    _write_text(path, json.dumps(value, indent=1, allow_nan=False))


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _write_manifest(stage: Stage) -> None:
    files = {str(path.relative_to(stage.folder)): path for path in sorted(stage.folder.rglob("*")) if path.is_file()}
    manifest = {
        "stage": stage.name,
        "digest": stage.digest,
        "contract_version": CONTRACT_VERSION,
        "parameters": stage.parameters,
        "inputs": stage.inputs,
        "counts": stage.counts,
        "statistics": stage.statistics,
        "files": {name: stage.digests.get(name) or file_digest(path) for name, path in files.items()},
        "packages": package_versions(),
        "seconds": round(stage.seconds, 3),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    _write_text(stage.folder / MANIFEST, _sealed(json.dumps(manifest, indent=1, allow_nan=False).removesuffix("\n}")))


def _sealed(manifest: str) -> str:
    """The text of a manifest, open at its end, closed by the SHA-256 of that text."""
    return f'{manifest}{_SEAL}"{hashlib.sha256(manifest.encode()).hexdigest()}"\n}}'


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
