"""The store: one folder per stage result, named after the digest of what it was made from.

A stage is a function of its digests. It writes into `<kind>/.<digest>.partial`, its `manifest.json` last, and the
folder is renamed when complete: a reader sees all or nothing. A lock beside it lets one process work at a digest; a
second one waits and then finds the folder; what is finished is found without a lock. From this follow caching, retry,
and, where `resume` keeps the partial folder, resume.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_contracts.errors import InputError, some
from data_contracts.store.checking import verify_input
from data_contracts.store.code_version import code_version
from data_contracts.store.digests import CONTRACT_VERSION, KINDS, Identity, Kind, file_digest, remember_digest
from data_contracts.store.locks import hold
from data_contracts.store.manifests import MANIFEST, package_versions, read_manifest, rebuild, write_manifest
from data_contracts.store.sequence import SEQUENCE, next_sequence

CHECKPOINT_FILE = "model.safetensors"  # of a run folder: its best network


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
    interrupted: bool = False  # an earlier run was killed or failed and left its partial folder
    resumed: bool = False  # the work continues from files of that run; the work sets it
    data: str = ""  # what people call the files that it starts from, where it does
    code: dict[str, Any] = field(default_factory=dict)  # as `code_version` gives it; empty: made before it was kept


def default_store(store: str | Path | None = None) -> Path:
    """Root of the store: the one given, else `UPLIFT_STORE`, else `./store`; absolute."""
    return Path(store or os.environ.get("UPLIFT_STORE") or "store").resolve()


@contextmanager
def open_stage(store: Path, identity: Identity, resume: bool = False) -> Iterator[Stage]:
    """Run one stage: yields a `Stage` to write into, and completes its folder when the block ends without an error.

    The files that the stage reads are verified first, unless the store has the result: a cached stage reads nothing.

    Parameters
    ----------
    store
        Root of the store.
    resume
        Keep what a killed run left in the partial folder, and leave it there when this run fails too.

    Raises
    ------
    InputError
        The store cannot be written, or a file that the stage reads is damaged.
    """
    start = time.perf_counter()
    finished = find_stage(store, identity)
    if finished is not None:
        yield finished
        return
    folder = store / identity.kind / identity.digest
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"store {store}: cannot be written ({error.strerror}); pass another --store") from error
    with hold(folder.with_name(f".{identity.digest}.lock"), what=f"{identity.name} {identity.digest}"):
        stage = find_stage(store, identity)  # another process may have finished it meanwhile
        if stage is not None:
            yield stage
            return
        for path in identity.paths:
            verify_input(path)
        with _working(folder, identity, resume) as stage:
            yield stage
            stage.seconds = time.perf_counter() - start
            manifest = _manifest(stage) | {SEQUENCE: next_sequence(store)}
            write_manifest(stage.folder, manifest)
        stage.folder.replace(folder)
        _sync(folder.parent)
        stage.folder = folder
        for name, digest in manifest["files"].items():
            remember_digest(folder / name, digest)
    stage.seconds = time.perf_counter() - start


@contextmanager
def _working(folder: Path, identity: Identity, resume: bool) -> Iterator[Stage]:
    """A stage in its partial folder, which an error clears away, unless the next run is to resume there."""
    partial = folder.with_name(f".{identity.digest}.partial")
    interrupted = partial.is_dir()
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    try:
        stage = Stage(identity.name, identity.digest, partial, False, identity.settings, identity.inputs)
        stage.interrupted, stage.data, stage.code = interrupted, identity.data, code_version()
        yield stage
    except BaseException:
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def find_stage(store: Path, identity: Identity) -> Stage | None:
    """Return the finished stage of that identity, or None if the store does not have it.

    Raises
    ------
    InputError
        The manifest is damaged or of another stage, or one of its files is missing. The content of the files is not
        read.
    """
    folder = store / identity.kind / identity.digest
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    if manifest["digest"] != identity.digest:
        fault = f"{MANIFEST} is of {manifest['stage']} {manifest['digest']}"
        raise InputError(f"{folder}: {fault}; {rebuild(folder)}")
    if missing := [name for name in manifest["files"] if not (folder / name).is_file()]:
        raise InputError(f"{folder}: the result is incomplete, missing {some(missing)}; {rebuild(folder, manifest)}")
    return Stage(
        identity.name,
        identity.digest,
        folder,
        True,
        manifest["parameters"],
        identity.inputs,
        manifest["counts"],
        manifest["statistics"],
        code=manifest.get("code", {}),
    )


def resolve(store: Path, kind: Kind | Literal["*"], reference: str | Path) -> Path:
    """The finished stage folder that a path, or a digest (or its unambiguous beginning) in the store, stands for.

    A kind `*` looks among all kinds.

    Raises
    ------
    InputError
        There is none, there are several, or what there is is of another kind.
    """
    for candidate in (Path(reference), store / kind / str(reference)):
        if (candidate / MANIFEST).is_file():
            return _of_kind(candidate, kind, reference).resolve()
    beginning = f"{reference}*/{MANIFEST}" if str(reference).isalnum() else None
    matches = sorted(store.glob(f"{kind}/{beginning}")) if beginning else []
    if len(matches) == 1:
        return matches[0].parent.resolve()
    if beginning and not matches:
        for elsewhere in store.glob(f"*/{beginning}"):
            _of_kind(elsewhere.parent, kind, reference)
    found = "no" if not matches else f"{len(matches)}"
    what = "stage" if kind == "*" else kind
    raise InputError(f"{reference}: {found} finished {what} folder of that path or digest in {store}")


def _of_kind(folder: Path, kind: Kind | Literal["*"], reference: str | Path) -> Path:
    """The folder, if its manifest says that it is of this kind."""
    stage = read_manifest(folder)["stage"]
    if kind not in ("*", KINDS.get(stage)):
        makers = " or ".join(f"`uplift {name}`" for name, made in KINDS.items() if made == kind)
        raise InputError(
            f"{reference}: is what stage {stage} left in {folder}; a {kind} folder is wanted, as {makers} leaves it"
        )
    return folder


def resolve_checkpoint(store: Path, reference: str | Path) -> Path:
    """The checkpoint that a `.safetensors` or `.bin` path, or a run folder's path or digest, stands for."""
    if str(reference).endswith((".safetensors", ".bin")):
        return Path(reference)
    return resolve(store, "runs", reference) / CHECKPOINT_FILE


def _manifest(stage: Stage) -> dict[str, Any]:
    files = {str(path.relative_to(stage.folder)): path for path in sorted(stage.folder.rglob("*")) if path.is_file()}
    return {
        "stage": stage.name,
        "digest": stage.digest,
        "contract_version": CONTRACT_VERSION,
        "parameters": stage.parameters,
        "inputs": stage.inputs,
        "counts": stage.counts,
        "statistics": stage.statistics,
        "files": {name: stage.digests.get(name) or file_digest(path) for name, path in files.items()},
        "packages": package_versions(),
        "code": stage.code | {"resumed": stage.resumed},
        "seconds": round(stage.seconds, 3),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
