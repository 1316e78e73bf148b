"""Reading the MLflow of a store, without creating or changing anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from data_contracts.errors import InputError
from data_contracts.store.sqlite import check_database, sqlite_file, sqlite_uri
from tasks.tracking.connection import DATABASE, named_uri

_ERRORS = (MlflowException, SQLAlchemyError, ImportError, OSError)  # ImportError: a database without its driver


def tracking_client(store: Path) -> MlflowClient:
    """Return a client of the MLflow that has the runs of a store.

    Raises
    ------
    InputError
        The store has no MLflow database, the database is damaged, or MLflow cannot be reached.
    """
    uri = named_uri() or sqlite_uri(store / DATABASE)
    database = sqlite_file(uri)
    if database:
        if not database.is_file():
            raise InputError(f"MLflow: {database} does not exist; set MLFLOW_TRACKING_URI if the runs are elsewhere")
        check_database(database)
    with mlflow_errors():
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def mlflow_errors(consequence: str = "") -> Iterator[None]:
    """Raise every error of MLflow and its database as an `InputError` of one line, with its consequence."""
    try:
        yield
    except _ERRORS as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        cause = "" if isinstance(error, OSError) else "MLflow failed: "
        raise InputError(f"{cause}{reason:.300}{f'; {consequence}' if consequence else ''}") from error
