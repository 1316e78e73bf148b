import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write_zip(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes `file.npz` with these members."""

    def write_zip(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        with zipfile.ZipFile(tmp_path / "file.npz", "w", method) as archive:
            for name, data in members:
                archive.writestr(name, data)
        return tmp_path / "file.npz"

    return write_zip


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that writes a pickle and returns its path."""

    def write(data: bytes) -> Path:
        (tmp_path / "file.pkl").write_bytes(data)
        return tmp_path / "file.pkl"

    return write
