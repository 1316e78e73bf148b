"""One service of the stack, as `uplift up` and compose.yaml start it: `python -m flows.deployment.services prefect`.

The process prepares databases and variables, and then replaces itself by the service (exec). Secrets are only in
environment variables, because every user of the machine can read command lines.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import httpx
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from data_contracts.errors import InputError
from data_contracts.store.sqlite import sqlite_uri
from flows.deployment.settings import ENV_FILE, ENV_VARIABLE, USER, StackSettings, read_settings, use_servers
from tasks.maintenance.starts import record_start

WAIT_SECONDS = 300.0
COMMON = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_API_REQUEST_TIMEOUT": "120",
    "PREFECT_CLIENT_MAX_RETRIES": "8",  # 2, 4, 8 ... seconds, nine minutes in all: a server can restart meanwhile
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # its links open pages for language models
    "PYTHONUNBUFFERED": "1",
}


def service_command(name: str, settings: StackSettings) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment variables of a service: `prefect`, `mlflow` or `worker-POOL`."""
    python, address = [sys.executable, "-m"], ["--host", settings.host, "--port"]
    if name == "prefect":
        command = ["uvicorn", "--factory", "flows.deployment.prefect_app:create_app", "--log-level", "warning"]
        return [*python, *command, *address, str(settings.prefect_port)], _prefect(settings)
    if name == "mlflow":
        command = ["mlflow", "server", "--app-name", "basic-auth", "--workers", "4" if settings.database_url else "1"]
        return [*python, *command, *address, str(settings.mlflow_port)], _mlflow(settings)
    pool = name.removeprefix("worker-")
    return [*python, "prefect", "worker", "start", "--pool", pool, "--type", "process"], COMMON


def _prefect(settings: StackSettings) -> dict[str, str]:
    url = settings.database_url and settings.database_url.replace("postgresql:", "postgresql+asyncpg:", 1)
    return COMMON | {
        "PREFECT_HOME": str(settings.store / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{settings.make_password()}",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": settings.prefect_url,
        # files, because a killed server forgets leases in memory, and a second nightly run would then start
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url or sqlite_uri(settings.store / "prefect.db", "aiosqlite"),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect, public",  # of PostgreSQL
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",  # at 5 s SQLite refuses writes while many runs wait
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # links that Prefect prints lead to the first UI
        "PREFECT_UI_URL": settings.prefect_url,  # for links in notifications
        "PREFECT_UI_API_URL": "/api",
    }


def _mlflow(settings: StackSettings) -> dict[str, str]:
    url, hosts, port = settings.database_url, settings.host_names, settings.mlflow_port
    if url:
        url += f"{'&' if '?' in url else '?'}options={quote('-csearch_path=mlflow')}"
    return COMMON | {
        "MLFLOW_BACKEND_STORE_URI": url or sqlite_uri(settings.store / "mlflow.db", timeout=60),
        "MLFLOW_ARTIFACTS_DESTINATION": str(settings.store / "mlartifacts"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{host},{host}:*" for host in hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}:{port},https://{host}" for host in hosts),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_AUTH_CONFIG_PATH": str(Path(__file__).with_name("mlflow-auth.ini")),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": settings.make_password(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": token_hex(),
        "MLFLOW_UVICORN_OPTS": "--log-level warning",
    }


def prepare(server: str, settings: StackSettings) -> None:
    """Create the databases or schemas that the server does not create itself; only the owner can read these files."""
    root = settings.store
    if server == "mlflow":
        for file in root.glob("mlflow-auth.db*"):
            file.unlink()  # the new file contains the present password, and no other user
    if settings.database_url:
        try:
            with create_engine(settings.database_url).begin() as connection:
                connection.execute(CreateSchema(server, if_not_exists=True))  # both name a table alembic_version
        except SQLAlchemyError as error:
            raise InputError(
                f"UPLIFT_DATABASE_URL: cannot create the schema {server} ({' '.join(str(error).split())}); check that"
                " the database is running and exists, and that its user may create schemas"
            ) from error
        return
    if server == "mlflow":
        from tasks.tracking.connection import connect  # an import of seconds

        connect(root)  # creates the database, and gives the runs of a copied store its new id
    database = root / f"{server}.db"
    try:
        with create_engine(sqlite_uri(database)).connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")  # other commands read while the server writes
    except SQLAlchemyError as error:
        raise InputError(
            f"{database}: the database cannot be used ({getattr(error, 'orig', error)}). Restore a backup, or move the"
            " file away to begin with an empty database"
        ) from error
    database.chmod(0o600)  # commands without a server leave it readable


def wait_for(url: str, user: tuple[str, str] | None = None) -> None:
    """Wait until a server answers 200 at the URL; raise an InputError after 5 minutes. `user`: name and password."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            if httpx.get(url, auth=user, timeout=10).status_code == 200:
                return
        time.sleep(0.5)
    raise InputError(f"{url} did not answer with status 200 within {WAIT_SECONDS:g} s; see the output of this server")


def main() -> None:
    """Prepare the service named on the command line, and replace this process by the service."""
    name = sys.argv[1]
    try:
        record_start((settings := read_settings()).store, name)
        command, variables = service_command(name, settings)
        if name.startswith("worker-"):
            use_servers(settings)
            pool = f"{os.environ['PREFECT_API_URL']}/work_pools/{name.removeprefix('worker-')}"
            wait_for(pool, (USER, settings.password() or ""))  # registration makes the pool, with its limit
        else:
            os.umask(0o077)
            prepare(name, settings)
            os.chdir(settings.store)  # MLflow's database of users is relative to it
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow's client sets it
    except InputError as error:
        sys.exit(f"uplift: {error}")
    own = {"UPLIFT_STORE": str(settings.store), ENV_VARIABLE: str(ENV_FILE)}
    variables |= os.environ | own  # the shell has priority
    os.execvpe(command[0], command, variables)


if __name__ == "__main__":
    main()
