"""Manifests: what went into a finished stage folder and what came out, closed by a digest of its own text."""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError

MANIFEST = "manifest.json"
PACKAGES = (
    *("numpy", "pandas", "pyarrow", "pandera", "pydantic", "torch", "lightning-fabric", "safetensors", "scipy"),
    "mlflow",
    "pose-uplift",
)

_SEAL = ',\n "manifest_digest": '  # the last entry of a manifest: SHA-256 of the text before it


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
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder}: not a finished stage folder (no readable {MANIFEST})") from error
    if text != _sealed(text.rpartition(_SEAL)[0]):
        raise InputError(
            f"{folder / MANIFEST}: is not as it was written: its manifest_digest is missing or of other text; it is"
            " damaged, was edited, or comes from an earlier version: remove the folder and run the stage again"
        )
    return manifest


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


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Close a stage folder: `manifest` as JSON, followed by the digest of its text."""
    _write_text(folder / MANIFEST, _sealed(json.dumps(manifest, indent=1, allow_nan=False).removesuffix("\n}")))


def _sealed(manifest: str) -> str:
    """The text of a manifest, open at its end, closed by the SHA-256 of that text."""
    return f'{manifest}{_SEAL}"{hashlib.sha256(manifest.encode()).hexdigest()}"\n}}'
