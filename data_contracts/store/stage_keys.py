"""Key of a stage: its name, its parameters, and the digest of each of its inputs."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_contracts.parameters.base import Parameters
from data_contracts.sources import KeypointSource, MotionFile, data_name
from data_contracts.store.digests import KINDS, PIPELINE, StageKey, file_digest, known_digest
from data_contracts.store.manifests import read_manifest

Input = Path | Sequence[MotionFile] | KeypointSource | str


def stage_key(stage: str, inputs: Mapping[str, Input], parameters: Parameters) -> StageKey:
    """Return the key of a stage, or of a pipeline run, which has no folder: its digest identifies its run in MLflow.

    Parameters
    ----------
    inputs
        Name -> finished stage folder, file, motion files, keypoint source, or digest of a result that does not exist
        yet.

    Raises
    ------
    InputError
        A file cannot be read, or a folder is not a finished stage folder.
    """
    digests: dict[str, str] = {}
    paths: list[Path] = []
    idle = {"pretrain"} if stage == PIPELINE and "pretrained" in inputs else set()
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
    """Return the digest of a file, or of the files of a folder with their names, because names number the frames."""
    if not source.is_folder:
        return file_digest(source.path)
    lines = (f"{file.name} {file_digest(file)}\n" for file in source.files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
