"""MLflow artifacts of a store, at URIs without an absolute path: `uplift-store:/mlartifacts/...`.

MLflow loads `open_repository` as a plugin (entry point `mlflow.artifact_repository`). The URI refers to the folder
`mlartifacts` next to the SQLite database of the current connection, so a store can be moved or copied, and no URI leads
out of the store. With a tracking server, the server reads and writes the folder.

This module imports no other package of the project: a program that loads a model may have its own module `model` or
`data_contracts`, which would be imported instead.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "mlartifacts"
SCHEME = "uplift-store"
LOCATION = f"{SCHEME}:/{FOLDER}"
MARKER = ".uplift-store"  # a server that does not list this file serves another folder

_connected: Path | str | None = None


def follow(tracking_uri: str) -> None:
    """Resolve all artifact URIs of this process in the store of `tracking_uri`.

    MLflow's client caches repositories by run id, and a copy of a store has the same run ids as the original.
    """
    global _connected
    database = _database(tracking_uri)
    _connected = database.parent if database else tracking_uri


def open_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """Open the repository of a `uplift-store:` URI; a path out of the connected store raises an MlflowException."""
    place, path = _place(tracking_uri or _current_uri()), _path_of(artifact_uri)
    if isinstance(place, Path):
        return StoreArtifactRepository(place, path)
    _must_serve_its_store(place)
    return MlflowArtifactsRepository(f"mlflow-artifacts:/{path}", place, registry_uri)


class StoreArtifactRepository(LocalArtifactRepository):
    """Artifacts in a folder of a store on this machine."""

    def __init__(self, root: Path, path: PurePosixPath) -> None:
        self._own_root = None if root == _connected else root  # None: the store is the connected one
        self._path = path
        super().__init__((root / FOLDER / path).as_uri())

    @property
    def artifact_dir(self) -> str:
        """Path of the folder; a folder outside the store raises an InputError."""
        _must_be_inside(self._folder, self._root)
        return str(self._folder)

    @property
    def _root(self) -> Path:
        root = self._own_root or _connected
        if not isinstance(root, Path):
            raise MlflowException.invalid_parameter_value(
                f"{self._path}: artifacts of a local store, but MLflow is connected to {root or 'no store'}"
            )
        return root

    @property
    def _folder(self) -> Path:
        return self._root / FOLDER / self._path

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Copy a file into the artifact folder."""
        with _write_errors(self.artifact_dir):
            super().log_artifact(local_file, artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy the files of `local_dir` into the artifact folder."""
        with _write_errors(self.artifact_dir):
            super().log_artifacts(local_dir, artifact_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, a folder, or all artifacts together with the parent folder named after the run or model."""
        if artifact_path:
            delete_inside(self._folder / artifact_path, self._folder)
        else:
            delete_inside(self._folder, self._root)


def local_folder(artifact_uri: str, tracking_uri: str | None = None) -> Path | None:
    """Return the local folder of an artifact URI, or None for a server or bucket."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == SCHEME:
        place = _place(tracking_uri or _current_uri())
        return place / FOLDER / _path_of(artifact_uri) if isinstance(place, Path) else None
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def delete_inside(path: Path, root: Path) -> None:
    """Delete a file, folder or link (not its target) below `root`, then the parent if empty; else an InputError."""
    if ".." in path.parts or path.absolute() == root.absolute():
        raise _input_error(f"{path}: is not inside the store {root}; not deleted")
    _must_be_inside(path.parent, root)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # other artifacts are in it
        path.parent.rmdir()


def delete_artifacts(client: "MlflowClient", uri: str, path: str | None = None) -> None:
    """Delete all artifacts at a URI, or only the file or folder `path`; files outside the store raise an InputError.

    A `file:` URI comes from an earlier version of this project; its folder must be below the connected store.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # it loads this module

    folder, database = local_folder(uri, client.tracking_uri), _database(client.tracking_uri)
    if folder is None or uri.startswith(f"{SCHEME}:"):
        get_artifact_repository(uri, tracking_uri=client.tracking_uri).delete_artifacts(path)
    elif database is None:
        raise _input_error(f"{folder}: is not deleted through a server: run the command without MLFLOW_TRACKING_URI")
    else:
        delete_inside(folder / path if path else folder, database.parent)


def _must_be_inside(folder: Path, root: Path) -> None:
    if not folder.resolve().is_relative_to(root.resolve()):
        raise _input_error(f"{folder}: is outside the store {root} (a symbolic link?); not touched")


def _path_of(artifact_uri: str) -> PurePosixPath:
    """Return the path of a URI relative to `mlartifacts`."""
    parts = urlsplit(artifact_uri)
    path = PurePosixPath(parts.path)
    if parts.netloc or parts.query or parts.fragment or ".." in path.parts or path.parts[:2] != ("/", FOLDER):
        raise MlflowException.invalid_parameter_value(f"{artifact_uri}: expected {LOCATION}/...")
    return path.relative_to(f"/{FOLDER}")


def _place(tracking_uri: str) -> Path | str:
    """Return the folder of the SQLite database, or the address of the server."""
    if tracking_uri.startswith(("http://", "https://")):
        return tracking_uri
    database = _database(tracking_uri)
    if database is None:
        raise MlflowException.invalid_parameter_value(
            f"{LOCATION}: the tracking URI must be a SQLite file or an MLflow server, not"
            f" {tracking_uri.partition(':')[0] or 'empty'}"
        )
    return database.parent


def _current_uri() -> str:
    import mlflow  # this module is loaded while MLflow itself is

    if not mlflow.is_tracking_uri_set():
        raise MlflowException.invalid_parameter_value(f"{LOCATION}: set MLFLOW_TRACKING_URI to the store's database")
    return str(mlflow.get_tracking_uri())


def _database(uri: str) -> Path | None:
    """Return the absolute path of the SQLite file in a URI, or None for any other database."""
    url = make_url(uri) if uri.startswith("sqlite") else None
    if url is None or not url.database or url.database == ":memory:":
        return None
    path = Path(unquote(url.database.removeprefix("file:")) if url.database.startswith("file:") else url.database)
    return path.parent.resolve() / path.name


def _input_error(message: str) -> ValueError:
    from data_contracts.errors import InputError

    return InputError(message)


@lru_cache
def _must_serve_its_store(server: str) -> None:
    listed = MlflowArtifactsRepository("mlflow-artifacts:/", server).list_artifacts()
    if all(file.path != MARKER for file in listed):
        raise MlflowException.invalid_parameter_value(
            f"the MLflow server {server} does not serve the artifacts of its store: start it with"
            f" --artifacts-destination STORE/{FOLDER}, where STORE is the folder of its mlflow.db"
        )


@contextmanager
def _write_errors(folder: str) -> Iterator[None]:
    """Convert errors that only a person can repair to InputError, after which a stage is not retried."""
    try:
        yield
    except OSError as error:  # MLflow's copy of a folder raises one without a number
        for reason in map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)):
            if reason in str(error):
                raise _input_error(
                    f"{folder}: artifacts cannot be written ({reason}); correct this and run again"
                ) from error
        raise
