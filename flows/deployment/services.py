"""One service of the stack, as the Procfile and compose.yaml start it: `python -m flows.deployment.services prefect`.

The process prepares databases and variables, and then replaces itself by the service (exec). Secrets are only in
environment variables, because every user of the machine can read command lines.
"""

import os
import sqlite3
import sys
import time
from contextlib import closing, suppress
from secrets import token_hex
from urllib.parse import quote

import httpx
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from data_contracts.errors import InputError
from data_contracts.store.sqlite import sqlite_uri
from flows.deployment.settings import POOLS, ROOT, USER, StackSettings, read_settings, use_servers
from tasks.maintenance.starts import record_start

COMMON = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # links without the pages for training
    "PYTHONUNBUFFERED": "1",
}
WORKER = {
    "PREFECT_API_REQUEST_TIMEOUT": "120",
    "PREFECT_CLIENT_MAX_RETRIES": "8",  # 2, 4, 8 ... seconds, nine minutes in all: a server can restart meanwhile
    "PREFECT_CLIENT_RETRY_JITTER_FACTOR": "0.5",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",
}


def service_command(name: str, settings: StackSettings) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment variables of a service: `prefect`, `mlflow` or `worker-POOL`."""
    module = [sys.executable, "-m"]
    if name == "prefect":
        command = ["uvicorn", "--factory", "flows.deployment.prefect_app:create_app", "--log-level", "warning"]
        command += ["--host", settings.host, "--port", str(settings.prefect_port)]
        return module + command, COMMON | _prefect(settings)
    if name == "mlflow":
        command = ["mlflow", "server", "--app-name", "basic-auth", "--workers", "4" if settings.database_url else "1"]
        command += ["--host", settings.host, "--port", str(settings.mlflow_port)]
        return module + command, COMMON | _mlflow(settings)
    pool = name.removeprefix("worker-")
    if pool not in POOLS:
        raise InputError(f"unknown service {name!r}; expected prefect, mlflow, worker-{' or worker-'.join(POOLS)}")
    return [*module, "prefect", "worker", "start", "--pool", pool, "--type", "process"], COMMON | WORKER


def _prefect(settings: StackSettings) -> dict[str, str]:
    variables = {
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{settings.make_password()}",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": settings.prefect_url,
        # files, because a killed server forgets leases in memory, and a second nightly run would then start
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",  # at 5 s SQLite refuses writes while many runs wait
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # links that Prefect prints lead to the first UI
        "PREFECT_UI_URL": settings.prefect_url,  # for links in notifications
        "PREFECT_UI_API_URL": "/api",
    }
    url = sqlite_uri(settings.root / "prefect.db", "aiosqlite")
    if settings.database_url:
        url = settings.database_url.replace("postgresql:", "postgresql+asyncpg:", 1)
        variables["PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH"] = "prefect, public"
    return variables | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}


def _mlflow(settings: StackSettings) -> dict[str, str]:
    url, hosts, port = settings.database_url, settings.host_names, settings.mlflow_port
    if url:
        url += f"{'&' if '?' in url else '?'}options={quote('-csearch_path=mlflow')}"
    return {
        "MLFLOW_BACKEND_STORE_URI": url or sqlite_uri(settings.root / "mlflow.db", timeout=60),
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts or str(settings.root / "mlartifacts"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{host},{host}:*" for host in hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}:{port},https://{host}" for host in hosts),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_AUTH_CONFIG_PATH": str(settings.root / "mlflow-auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": settings.make_password(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": token_hex(),
    }


def prepare(server: str, settings: StackSettings) -> None:
    """Create the databases that the server does not create itself; only the owner can read these files."""
    settings.root.mkdir(parents=True, exist_ok=True)
    if server == "mlflow":
        for file in settings.root.glob("mlflow-auth.*"):
            file.unlink()  # the new file contains the present password, and no other user
        (settings.root / "mlflow-auth.ini").write_text(
            "[mlflow]\ndefault_permission = READ\nauth_cache_ttl_seconds = 3600\n"
            f"database_uri = {sqlite_uri(settings.root / 'mlflow-auth.db').replace('%', '%%')}\n"
        )
    if settings.database_url:
        return _make_schema(settings.database_url, server)  # both servers name a table alembic_version
    database = settings.root / f"{server}.db"
    if server == "mlflow":
        from tasks.tracking.connection import connect  # an import of seconds

        connect(settings.root)  # creates the database, and gives the runs of a copied store its new id
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{database} is damaged ({error}). Restore a backup, or move the file away to begin with an empty database"
        ) from error
    for file in settings.root.glob("*.db*"):
        file.chmod(0o600)  # commands without a server leave them readable
    return None


def _make_schema(url: str, name: str) -> None:
    try:
        with create_engine(url).begin() as connection:
            connection.execute(CreateSchema(name, if_not_exists=True))
    except ImportError as error:
        raise InputError("PostgreSQL's driver is not installed: pip install 'pose-uplift[postgres]'") from error
    except SQLAlchemyError as error:
        raise InputError(f"UPLIFT_DATABASE_URL: {' '.join(str(error).split())}") from error


def answers(url: str, credentials: str = "") -> bool:
    """Return whether a server answers 200 at the URL; credentials are `user:password`."""
    user, _, password = credentials.partition(":")
    with suppress(httpx.HTTPError):
        return httpx.get(url, auth=(user, password), timeout=10).status_code == 200
    return False


def main() -> None:
    """Prepare the service named on the command line, and replace this process by the service."""
    name = sys.argv[1]
    try:
        settings = read_settings()
        if name in ("prefect", "mlflow"):
            os.umask(0o077)
            for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_HOME"):
                os.environ.pop(variable, None)  # a server is not a client
            prepare(name, settings)
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow's client sets it
        command, variables = service_command(name, settings)
    except InputError as error:
        sys.exit(f"uplift: {' '.join(str(error).split())}")
    if name.startswith("worker-"):
        use_servers(settings)
        pool = f"{os.environ['PREFECT_API_URL']}/work_pools/{name.removeprefix('worker-')}"
        while not answers(pool, os.environ.get("PREFECT_API_AUTH_STRING", "")):  # registration sets the pool's limits
            print(f"waiting for {pool}", flush=True)
            time.sleep(2)
    record_start(settings.root, name)
    os.environ["UPLIFT_STORE"] = str(settings.root)
    os.chdir(ROOT)
    os.execvpe(command[0], command, {**variables, **os.environ})  # PREFECT_ and MLFLOW_ variables of the shell win


if __name__ == "__main__":
    main()
