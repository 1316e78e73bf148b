"""The store: one folder per stage result, named after the digest of the stage's key.

- A stage writes into `<kind>/.<digest>.partial` and writes `manifest.json` last. The complete folder is then renamed,
  so a reader never sees part of a result.
- A lock next to the folder lets one process work on a digest. A second process waits and then finds the folder.
- Finished folders are found without a lock. A training (`resume`) keeps its partial folder and continues from it.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import InputError, some
from data_contracts.parameters import Kind
from data_contracts.store.checking import verify_input
from data_contracts.store.digests import CONTRACT_VERSION, KINDS, StageKey, file_digest
from data_contracts.store.locks import locked
from data_contracts.store.manifests import (
    MANIFEST,
    SHIPPED_RUN,
    code_version,
    package_versions,
    read_manifest,
    rebuild,
    write_manifest,
)
from data_contracts.store.sequence import SEQUENCE, next_sequence

CHECKPOINT_FILE = "model.safetensors"  # the best network of a training run
SHIPPED = "shipped"  # reference of the training run of the lifter in this package


@dataclass
class Stage:
    """A stage that is being computed, or (`cached`) was computed before.

    The work writes into `folder`, and adds to `counts` and `statistics` before the `with` block of `open_stage` ends.
    """

    name: str
    digest: str
    folder: Path
    cached: bool
    parameters: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False  # an earlier run was killed or failed and left its partial folder
    resumed: bool = False  # the work continues from files of the earlier run; the work sets this field
    data: str = ""  # display name of the user's files, if the stage reads any
    code: dict[str, Any] = field(default_factory=dict)  # `code_version`; empty if an earlier version wrote the folder

    @property
    def store(self) -> Path:
        """Root of the store."""
        return self.folder.parents[1]


class StageResult(BaseModel):
    """Result of a stage: its folder, counts and statistics."""

    model_config = ConfigDict(frozen=True)

    stage: str
    folder: str
    digest: str
    cached: bool
    seconds: float
    counts: dict[str, Any]
    statistics: dict[str, Any]

    @classmethod
    def of(cls, stage: Stage) -> "StageResult":
        """Return the result of a stage whose `open_stage` block has ended."""
        same = {name: getattr(stage, name) for name in ("digest", "cached", "counts", "statistics")}
        return cls(stage=stage.name, folder=str(stage.folder), seconds=round(stage.seconds, 3), **same)

    def summary(self) -> dict[str, Any]:
        """Return the content of `--json`: folder, digest, cached, seconds, counts and, for evaluations, scores."""
        summary = self.model_dump(include={"stage", "folder", "digest", "cached", "seconds"}) | self.counts
        scores = ("metrics", "intervals", "robustness", "real_video", "protocol", "benchmark_scores")
        return summary | {name: self.statistics[name] for name in scores if name in self.statistics}

    @property
    def path(self) -> Path:
        """The stage's folder."""
        return Path(self.folder)


def default_store(store: str | Path | None = None) -> Path:
    """Return the absolute path of the store: the argument, else `UPLIFT_STORE`, else `./store`."""
    return Path(store or os.environ.get("UPLIFT_STORE") or "store").resolve()


@contextmanager
def open_stage(store: Path, key: StageKey, resume: bool = False) -> Iterator[Stage]:
    """Yield a `Stage` to write into, and complete its folder if the block ends without an error.

    If another process finished the stage meanwhile, the yielded stage is `cached`. Otherwise all input files are
    verified first.
    With `resume`, an interrupted or failed run leaves its partial folder, and the next run continues in the folder.

    Raises
    ------
    InputError
        The store cannot be written, or a file that the stage reads is damaged.
    """
    start = time.perf_counter()
    folder = store / key.kind / key.digest
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"store {store}: cannot be written ({error.strerror}); pass another --store") from error
    with locked(folder.with_name(f".{key.digest}.lock"), name=f"{key.name} {key.digest}"):
        stage = find_stage(store, key)
        if stage is not None:
            yield stage
            return
        for path in key.paths:
            verify_input(path)
        with _working(folder, key, resume) as stage:
            yield stage
            stage.seconds = time.perf_counter() - start
            write_manifest(stage.folder, _manifest(stage) | {SEQUENCE: next_sequence(store)})
        stage.folder.replace(folder)
        _sync(folder.parent)
        stage.folder = folder
    stage.seconds = time.perf_counter() - start


@contextmanager
def _working(folder: Path, key: StageKey, resume: bool) -> Iterator[Stage]:
    """Yield a stage in its partial folder; an error deletes the folder, unless the next run can resume in it."""
    partial = folder.with_name(f".{key.digest}.partial")
    interrupted = partial.is_dir()
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    try:
        stage = Stage(key.name, key.digest, partial, False, key.settings, key.inputs)
        stage.interrupted, stage.data, stage.code = interrupted, key.data, code_version()
        yield stage
    except BaseException:
        if not resume or not any(partial.iterdir()):
            shutil.rmtree(partial, ignore_errors=True)
        raise


def find_stage(store: Path, key: StageKey) -> Stage | None:
    """Return the finished stage with this key, or None if the store does not have it.

    Raises
    ------
    InputError
        The manifest is damaged or belongs to another stage, or a file is missing. Contents of files are not checked.
    """
    folder = store / key.kind / key.digest
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    if manifest["digest"] != key.digest:
        fault = f"{MANIFEST} belongs to {manifest['stage']} {manifest['digest']}"
        raise InputError(f"{folder}: {fault}; {rebuild(folder)}")
    if missing := [name for name in manifest["files"] if not (folder / name).is_file()]:
        raise InputError(f"{folder}: the result is incomplete, missing {some(missing)}; {rebuild(folder, manifest)}")
    stage = Stage(key.name, key.digest, folder, True, manifest["parameters"], key.inputs)
    stage.counts, stage.statistics = manifest["counts"], manifest["statistics"]
    stage.code = manifest.get("code", {})
    return stage


def resolve(store: Path, kind: Kind | Literal["*"], reference: str | Path) -> Path:
    """Return the finished folder for a path, a digest, the unique beginning of a digest, or `SHIPPED`.

    Kind `*` allows any kind.

    Raises
    ------
    InputError
        The store has no such folder or several, or the folder has another kind.
    """
    if reference == SHIPPED:
        return _of_kind(SHIPPED_RUN, kind, reference)
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
    folder = f"finished {'stage' if kind == '*' else kind} folder"
    fault = f"{len(matches)} {folder}s begin with this digest" if matches else f"no {folder} has this path or digest"
    raise InputError(f"{reference}: {fault} in {store}; pass {'more digits' if matches else 'another path or --store'}")


def _of_kind(folder: Path, kind: Kind | Literal["*"], reference: str | Path) -> Path:
    """Return the folder if its stage writes folders of this kind; otherwise raise an InputError."""
    stage = read_manifest(folder)["stage"]
    if kind not in ("*", KINDS.get(stage)):
        commands = " or ".join(f"`uplift {name}`" for name, output in KINDS.items() if output == kind)
        raise InputError(
            f"{reference}: expected a folder of kind {kind} (output of {commands}), but {folder} is the output of stage"
            f" {stage}"
        )
    return folder


def resolve_checkpoint(store: Path, reference: str | Path) -> Path:
    """Return the checkpoint file: `reference` itself if it is a .safetensors or .bin path, else that of `resolve`."""
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
        "files": {name: file_digest(path) for name, path in files.items()},
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
