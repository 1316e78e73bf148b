"""What must be there before a server: MLflow's SQLite file with a write-ahead log, or a schema in PostgreSQL.

With SQLite both files are in the store's folder, which then must be on a disk of the servers' machine: a write-ahead
log does not work on a network file system. The Prefect server turns its own on, and waits a minute for another writer.
"""

import os
import sqlite3
from contextlib import closing

from data_contracts.errors import InputError
from flows.stack.settings import StackSettings


def prepare_database(settings: StackSettings, server: str) -> None:
    """Make what a server (`prefect`, `mlflow`) does not make by itself.

    In PostgreSQL each has a schema of its own: both name the table of their version alike.

    Raises
    ------
    InputError
        PostgreSQL does not answer, or lets nobody make a schema; or its driver is not installed.
    """
    if settings.database_url:
        _make_schema(settings.database_url, server)
    elif server == "mlflow":
        _make_mlflow_file(settings)


def _make_mlflow_file(settings: StackSettings) -> None:
    """As without a server: artifacts lie in the store, so that one may be used after the other."""
    from tasks.mlflow_runs.runs import connect  # takes seconds, which the other server need not wait for

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    connect(settings.root)
    with closing(sqlite3.connect(settings.root / "mlflow.db", timeout=60)) as database:
        database.execute("PRAGMA journal_mode = WAL")  # the file remembers it


def _make_schema(url: str, name: str) -> None:
    try:
        import psycopg2
    except ImportError as error:
        raise InputError("PostgreSQL's driver is not installed: pip install 'pose-uplift[postgres]'") from error
    try:
        with closing(psycopg2.connect(url)) as database, database, database.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    except psycopg2.Error as error:
        raise InputError(f"UPLIFT_DATABASE_URL: {' '.join(str(error).split())}") from error
