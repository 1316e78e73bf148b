"""One Prefect test harness for all flow tests, and a pipeline run small enough for seconds."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.testing.utilities import prefect_test_harness

from data_contracts.parameters import PipelineParameters
from data_contracts.presets import load_preset
from flows.pipeline import pipeline

TINY = [
    "synthetic.people=6",
    "synthetic.seconds=1.5",
    "convert.views=1",
    "pretrain.network.embed_dim=16",
    "pretrain.network.fusion_depth=1",
    "pretrain.max_epochs=2",
    "finetune.max_epochs=1",
    "ingest.min_frames=10",
    "baselines.mlp.minutes=0.02",
]


@pytest.fixture(scope="session", autouse=True)
def _harness():
    with prefect_test_harness(server_startup_timeout=120):
        yield
        EventsWorker.drain_all(timeout=30)  # events of a server that is gone are never sent; the harness would wait


@pytest.fixture(scope="session")
def parameters() -> PipelineParameters:
    return load_preset("demo", TINY)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def outcome(store, parameters) -> dict:
    """What a whole pipeline run on synthetic motion returned."""
    return pipeline(parameters=parameters, store=str(store))


def postgres_programs() -> Path:
    """Folder of PostgreSQL's programs; Debian keeps the server's off the PATH."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = [folder for folder in found if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]
    if not found:
        pytest.skip("PostgreSQL is not installed: no initdb on the PATH or below /usr/lib/postgresql")
    if find_spec("psycopg2") is None:
        pytest.skip("PostgreSQL's driver is not installed: pip install 'pose-uplift[postgres]'")
    return found[0]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URI of an empty database in a PostgreSQL server of its own, which no root may be."""
    programs = postgres_programs()
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if user and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="uplift-pg-", dir="/tmp"))  # a socket's path is short, pytest's are not

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120, **user)

    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        run("initdb", "-D", f"{folder}/db", "-U", "mlflow", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", f"{folder}/db", "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            yield f"postgresql://mlflow@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", f"{folder}/db", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
