"""Digests of files, and the key of a stage: its name, its parameters, and the digest of each of its inputs."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_contracts.benchmarks.files import BenchmarkFiles
from data_contracts.errors import InputError
from data_contracts.parameters import STAGE_FOLDERS, Kind
from data_contracts.parameters.base import Parameters, without
from data_contracts.sources import AmassFiles, KeypointSource, MarkedVideos, MotionFile, data_name
from data_contracts.store.manifests import read_manifest

CONTRACT_VERSION = 13  # incremented if the same parameters and inputs give another result or another digest

PIPELINE = "pipeline"
KINDS = {stage: kind for stage, (kind, _) in STAGE_FOLDERS.items()}
Input = Path | Sequence[MotionFile] | AmassFiles | KeypointSource | MarkedVideos | BenchmarkFiles | str

_USED = {  # parameters with an effect, for stages that share the parameters of another stage
    "benchmark": {"fps", "min_confidence", "max_gap"},
    "score": {"stride", "flip", "height", "bones"},
}
_State = tuple[int, int, int, int]  # size, time of the last write, time of the last change, inode
_SETTLED_NANOSECONDS = 2_000_000_000  # since the last write
_known: dict[Path, tuple[_State, str]] = {}  # SHA-256 of the files that this process has read


@dataclass(frozen=True)
class StageKey:
    """Key of a stage's result: name and parameters of the stage, and the digests of the inputs of the stage.

    The digest does not depend on `data` and `paths`.
    """

    kind: Kind
    name: str
    parameters: Parameters
    inputs: dict[str, str]
    idle: frozenset[str] = frozenset()  # parameters without effect on these inputs; `identity` omits further ones
    data: str = ""  # display name of the user's files, if the stage reads any
    paths: tuple[Path, ...] = field(default=(), compare=False)  # files and folders that the stage reads

    @property
    def settings(self) -> dict[str, Any]:
        """Parameters that determine the digest, as JSON; the manifest contains these parameters."""
        return without(self.parameters.identity(), self.idle)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the key and `CONTRACT_VERSION`."""
        key = {
            "stage": self.name,
            "contract_version": CONTRACT_VERSION,
            "parameters": self.settings,
            "inputs": self.inputs,
        }
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def stage_key(stage: str, inputs: Mapping[str, Input], parameters: Parameters) -> StageKey:
    """Return the key of a stage, or of a pipeline run (whose digest identifies an MLflow run instead of a folder).

    Parameters
    ----------
    inputs
        Inputs by name. An input is a finished stage folder, a file, motion files, files of AMASS, a keypoint source,
        videos with marker truth, files of a benchmark, or the digest of a result that does not exist yet.

    Raises
    ------
    InputError
        A file cannot be read, or a folder is not a finished stage folder.
    """
    digests: dict[str, str] = {}
    paths: list[Path] = []
    idle = {"pretrain"} if stage == PIPELINE and "pretrained" in inputs else set()
    idle |= type(parameters).model_fields.keys() - _USED[stage] if stage in _USED else set()
    data = ""
    for name, value in inputs.items():
        match value:
            case str():
                digests[name] = value
            case Path():
                digests[name] = read_manifest(value)["digest"] if value.is_dir() else file_digest(value)
                paths.append(value)
            case KeypointSource():
                digests[name] = _keypoints_digest(value)
                data = value.path.absolute().stem
                idle |= set() if value.is_video else {"detector"}
            case MarkedVideos():
                digests[name] = _files_digest(value.files)
            case BenchmarkFiles():
                digests |= {name: _files_digest(value.files, folder=value.folder), "benchmark": str(value.benchmark)}
                data = str(value.benchmark)
            case AmassFiles():
                digests |= {name: _files_digest(value.files, parts=3)}
                digests["body_model"] = _files_digest(value.models, folder=value.model_folder)
                data = data_name(value)
            case _:
                digests |= _motion_digests(value)
                data = data_name(value)
                paths += [path for file in value for path in (file.path, file.clip_list) if path]
    kind = "pipelines" if stage == PIPELINE else KINDS[stage]
    return StageKey(kind, stage, parameters, digests, frozenset(idle), data, tuple(paths))


def _motion_digests(files: Sequence[MotionFile]) -> dict[str, str]:
    """Return `source` and `clip_list` of the first file, `source_2` and `clip_list_2` of the second, and so on."""
    digests = {}
    for place, file in enumerate(files, start=1):
        number = "" if place == 1 else f"_{place}"
        digests[f"source{number}"] = known_digest(file.path)  # the file may have gigabytes
        if file.clip_list:
            digests[f"clip_list{number}"] = file_digest(file.clip_list)
    return digests


def _keypoints_digest(source: KeypointSource) -> str:
    """Return the digest of a file's bytes or, for a folder, of names (with frame numbers) and contents of its files."""
    return _files_digest(source.files) if source.is_folder else file_digest(source.path)


def _files_digest(files: Sequence[Path], parts: int = 1, folder: Path | None = None) -> str:
    """Return the digest of names and contents of files; a name is the path in `folder`, or its last `parts` parts."""
    names = (file.relative_to(folder) if folder else Path(*file.absolute().parts[-parts:]) for file in files)
    lines = (f"{name} {known_digest(file)}\n" for name, file in zip(names, files, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex; raise an InputError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def known_digest(path: Path) -> str:
    """Return `file_digest`, cached in this process; a file that may have changed is read again.

    The file has changed if its size, times or inode differ. File systems store times in steps of up to two seconds.
    So a file that was written less than two seconds before the first reading is read again.
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
