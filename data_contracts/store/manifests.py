"""Manifests: JSON with the inputs, parameters, counts and files of a finished stage folder, and a SHA-256 of the JSON.

A manifest also contains the versions of the packages and of the code. The digest of a stage does not depend on these
versions: a commit that changes a result increments `CONTRACT_VERSION`.
"""

import hashlib
import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import STAGE_FOLDERS

MANIFEST = "manifest.json"
PACKAGES = (
    *("numpy", "pandas", "pyarrow", "pandera", "pydantic", "torch", "lightning-fabric", "safetensors", "scipy"),
    "mlflow",
    "pose-uplift",
)

_ROOT = Path(__file__).parents[2]
SHIPPED_RUN = _ROOT / "model" / "shipped"  # training run of the lifter in this package, without its float32 weights
_CODE = ("flows", "tasks", "model", "data_contracts")
_GIT_SECONDS = 20.0
_SEAL = ',\n "manifest_digest": '  # the last entry of a manifest: SHA-256 of the text before it
_TYPES = {
    "stage": str,
    "digest": str,
    "contract_version": int,
    "parameters": dict,
    "inputs": dict,
    "counts": dict,
    "statistics": dict,
    "files": dict,
}  # entries that every manifest has


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished stage folder.

    Raises
    ------
    InputError
        The folder has no manifest, or the manifest differs from the one that the stage wrote.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        fault = f"not a finished stage folder ({MANIFEST}: {error.strerror})"
        raise InputError(f"{folder}: {fault}; pass the output folder of a stage") from error
    try:
        text = data.decode()
        manifest = json.loads(text) if text == _sealed(text.rpartition(_SEAL)[0]) else None
    except (ValueError, RecursionError):
        manifest = None
    if isinstance(manifest, dict) and all(isinstance(manifest.get(name), kind) for name, kind in _TYPES.items()):
        return manifest
    raise InputError(
        f"{folder / MANIFEST}: the manifest is empty, damaged, edited, or from an earlier version; {rebuild(folder)}"
    )


def rebuild(folder: Path, manifest: dict[str, Any] | None = None) -> str:
    """Return the instruction, for an error message, to remove a damaged stage folder and run its stage again.

    If `manifest` is None, the instruction lists every stage that writes this kind of folder. For the lifter of this
    package, it is the instruction to install the package again.
    """
    if folder == SHIPPED_RUN:
        return "install this package again, or check out the folder again with git"
    inputs = {name: name.upper() for name in ("clips", "windows", "keypoints")}
    if manifest:
        stages = [manifest["stage"]]
        inputs |= manifest["inputs"]
    else:
        stages = [stage for stage, (kind, _) in STAGE_FOLDERS.items() if kind == folder.parent.name]
    commands = " or ".join(
        f"`{STAGE_FOLDERS[stage][1].format_map(inputs)}`" for stage in stages if stage in STAGE_FOLDERS
    )
    return f"remove the folder {folder} and run {commands or 'its stage'} again with the same options"


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages in `PACKAGES`."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@cache  # a process keeps the modules that it imported, even if another commit is checked out meanwhile
def code_version() -> dict[str, Any]:
    """Return the `commit` that is checked out (40 hex digits), and `dirty`: whether code files differ from the commit.

    If git fails, `commit` and `dirty` are None, and `why` is the reason.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _ROOT:
            raise ValueError(f"{_ROOT} is not a clone of the repository")
        return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "--", *_CODE))}
    except subprocess.CalledProcessError as error:
        why = " ".join(error.stderr.split())
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = str(error)
    return {"commit": None, "dirty": None, "why": why}


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
    return done.stdout.strip()


def describe_code(code: dict[str, Any]) -> str:
    """Return one phrase about the `code` of a manifest or run (see `code_version`); `code` is empty if not recorded."""
    if not code:
        return "code not recorded (by an earlier version)"
    if not code["commit"]:
        return f"code not known ({code['why']})"
    changed = " with uncommitted changes" if code["dirty"] else ""
    resumed = ", which resumed an interrupted run" if code.get("resumed") else ""
    return f"code {code['commit'][:10]}{changed}{resumed}"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON to `path` atomically; the file is on disk when this function returns."""
    _write_text(path, json.dumps(value, indent=1, allow_nan=False))


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of a stage folder as JSON, with the SHA-256 of the preceding text as its last entry."""
    _write_text(folder / MANIFEST, _sealed(json.dumps(manifest, indent=1, allow_nan=False).removesuffix("\n}")))


def _sealed(manifest: str) -> str:
    """Return the text of a manifest (without the last brace) with its SHA-256 as the last entry."""
    return f'{manifest}{_SEAL}"{hashlib.sha256(manifest.encode()).hexdigest()}"\n}}'
