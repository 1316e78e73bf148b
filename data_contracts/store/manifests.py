"""Manifests: the inputs, parameters, counts and files of a finished stage folder, sealed by a digest of the text."""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import STAGE_FOLDERS
from data_contracts.store.digests import KINDS

MANIFEST = "manifest.json"
PACKAGES = (
    *("numpy", "pandas", "pyarrow", "pandera", "pydantic", "torch", "lightning-fabric", "safetensors", "scipy"),
    "mlflow",
    "pose-uplift",
)

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
        raise InputError(f"{folder}: not a finished stage folder ({MANIFEST}: {error.strerror})") from error
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
    """Return the instruction that replaces a damaged stage folder; without a manifest the folder's kind is known."""
    stages = [manifest["stage"]] if manifest else [name for name, kind in KINDS.items() if kind == folder.parent.name]
    inputs = {name: name.upper() for name in ("clips", "windows", "keypoints")} | (
        manifest["inputs"] if manifest else {}
    )
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


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON at `path`, whole or not at all; the file is on disk when this function returns."""
    _write_text(path, json.dumps(value, indent=1, allow_nan=False))


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of a stage folder as JSON, followed by the digest of its text."""
    _write_text(folder / MANIFEST, _sealed(json.dumps(manifest, indent=1, allow_nan=False).removesuffix("\n}")))


def _sealed(manifest: str) -> str:
    """Return the text of a manifest (without the last brace) with its SHA-256 as the last entry."""
    return f'{manifest}{_SEAL}"{hashlib.sha256(manifest.encode()).hexdigest()}"\n}}'
