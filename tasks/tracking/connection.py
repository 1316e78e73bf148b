"""Connection of a store to MLflow: its own SQLite file, or the database or server that `MLFLOW_TRACKING_URI` names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from data_contracts.errors import InputError
from data_contracts.store.locks import locked_if_writable, must_be_writable
from data_contracts.store.sqlite import check_database, sqlite_file, sqlite_uri
from tasks.tracking import store_artifacts
from tasks.tracking.names import CONNECTING_LOCK, DATABASE, EXPERIMENT, STORE_TAG, store_id
from tasks.tracking.store_identity import forget_former_ids, former_ids, name_store

POSTGRESQL_SECONDS = 5  # longest wait for a connection
_ERRORS = (MlflowException, SQLAlchemyError, ImportError, OSError)  # ImportError: a database without its driver

_own_uri: str | None = None  # MLflow copies its tracking URI into the environment, as if the user had set it


def connect(store: Path) -> MlflowClient:
    """Point MLflow at the store's database or server and return a client; create database and experiment if absent.

    Raises
    ------
    InputError
        The store cannot be written, its database is damaged or has artifacts elsewhere, or the MLflow plugin is absent.
    """
    global _own_uri
    store, named = store.resolve(), named_uri()
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{store}: cannot be written ({error.strerror}); pass another --store") from error
    uri = named or sqlite_uri(store / DATABASE)
    database = sqlite_file(uri)
    if database:
        make_database(database)
    if named is None:
        _own_uri = uri
    if mlflow.get_tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
    if mlflow.get_registry_uri() != uri:
        mlflow.set_registry_uri(uri)
    if store_artifacts.SCHEME not in get_registered_artifact_repositories():
        raise InputError("MLflow has not loaded the plugin of this package: run `pip install -e .` again")
    store_artifacts.follow(uri)
    writable = os.access(store, os.W_OK)
    # the first connection migrates an older database: one process at a time
    with locked_if_writable(store / CONNECTING_LOCK, "the MLflow database"):
        if writable:
            name_store(store)
        client = MlflowClient()
        _make_experiment(client, database)
        if writable and database == store / DATABASE and not database.is_symlink():
            _retag(client, store)
    return client


def connect_to_write(store: Path) -> MlflowClient:
    """Return `connect(store)`; raise an InputError if MLflow's database is in a read-only store."""
    if named_uri() is None:
        must_be_writable(store)
    return connect(store)


def tracking_client(store: Path) -> MlflowClient:
    """Return a client of the store's MLflow without changing anything; no MLflow raises an InputError."""
    uri = named_uri() or sqlite_uri(store / DATABASE)
    database = sqlite_file(uri)
    if database:
        if not database.is_file():
            raise InputError(f"MLflow: {database} does not exist; set MLFLOW_TRACKING_URI if the runs are elsewhere")
        check_database(database)
    with mlflow_errors():
        if uri.startswith("postgresql"):  # MLflow repeats a refused connection for 100 s
            with create_engine(uri, connect_args={"connect_timeout": POSTGRESQL_SECONDS}).connect():
                pass
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def mlflow_errors(consequence: str = "") -> Iterator[None]:
    """Convert each error of MLflow or its database to an `InputError` of one line that ends with `consequence`."""
    try:
        yield
    except _ERRORS as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        cause = "" if isinstance(error, OSError) else "MLflow failed: "
        raise InputError(f"{cause}{reason:.300}{f'; {consequence}' if consequence else ''}") from error


def named_uri() -> str | None:
    """Return the tracking URI in `MLFLOW_TRACKING_URI`, or None for the store's own database."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return uri if uri and uri != _own_uri else None


def make_database(database: Path) -> None:
    """Create a SQLite database with MLflow's tables atomically, or check the existing database."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked_if_writable(database.with_name(CONNECTING_LOCK), "the MLflow database"):
        if not database.exists():
            must_be_writable(database.parent)
            new = database.with_name(f".{database.name}.partial")
            new.unlink(missing_ok=True)
            # a process killed while MLflow creates the tables leaves a database that MLflow cannot open again
            MlflowClient(tracking_uri=sqlite_uri(new)).search_experiments(max_results=1)
            new.replace(database)
        check_database(database)


def _make_experiment(client: MlflowClient, database: Path | None) -> None:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if database:
        if experiment:
            _must_be_next_to(database, str(experiment.artifact_location))
        marker = database.parent / store_artifacts.FOLDER / store_artifacts.MARKER
        if not marker.exists() and os.access(database.parent, os.W_OK):
            marker.parent.mkdir(exist_ok=True)
            marker.touch()
    if experiment is None:
        client.create_experiment(
            EXPERIMENT,
            store_artifacts.LOCATION if database else None,
            tags={"mlflow.experimentKind": "custom_model_development"},  # the UI shows training, not GenAI, pages
        )


def _must_be_next_to(database: Path, location: str) -> None:
    """Raise an InputError for a moved or copied database of an earlier version, which has absolute paths."""
    folder = store_artifacts.local_folder(location, sqlite_uri(database))
    if folder and not folder.resolve().is_relative_to(database.parent):
        raise InputError(
            f"{database}: an earlier version wrote this database and its artifacts at {folder.parent}. A store of that"
            f" version cannot be moved or copied. Use it at {folder.parent}, or run the pipeline in a new store"
        )


def _retag(client: MlflowClient, store: Path) -> None:
    """Tag the runs in the database of a copied store with its new store id; after a kill the next process continues."""
    former = former_ids(store)
    if not former:
        return
    experiment, name = client.get_experiment_by_name(EXPERIMENT), store_id(store)
    assert experiment is not None, "connect() creates the experiment"
    for old in former:
        while runs := client.search_runs([experiment.experiment_id], f"tags.`{STORE_TAG}` = '{old}'"):
            for run in runs:
                client.set_tag(run.info.run_id, STORE_TAG, name)
    forget_former_ids(store)
