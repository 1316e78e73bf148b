"""One Prefect server for all flow tests of a worker, and a pipeline run that takes seconds."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.presets import load_preset
from tests.flows.typed import pipeline
from tests.postgresql import NoPostgresError, postgresql_server
from tests.servers import guarded, serving

TINY = [
    "synthetic.people=6",
    "synthetic.seconds=1.5",
    "convert.views=1",
    "pretrain.network={embed_dim: 16, heads: 2, fusion_depth: 1, stem: window, stem_width: 384, patch: 9,"
    " cosines: 8, geometry: foreshortening}",
    "pretrain.max_epochs=2",
    "finetune.max_epochs=1",
    "ingest.min_frames=10",
    *("baselines.mlp.minutes=0.001", "baselines.mlp.batch_size=32"),
    "evaluate.robustness_windows=8",
]


@pytest.fixture(scope="session", autouse=True)
def prefect_api(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[str]:
    """Start the Prefect server at the `PREFECT_API_URL` of this worker; flows and commands of its tests use it.

    The server runs without background services and blocks. They would take time from the tests, and `uplift up` is
    tested with all of them.
    """
    home, api = tmp_path_factory.mktemp("prefect"), os.environ["PREFECT_API_URL"]
    shutil.copy(prefect_database, home)
    port = urlsplit(api).port
    assert port is not None
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_ENABLED": "false"}
    environment |= {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false"}
    no_heartbeats = temporary_settings(
        {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    )  # each flow waits 0.5 s for the thread
    with serving([*command, "--no-services"], port, "/api/health", home / "server.log", environment), no_heartbeats:
        yield api
        APILogHandler().flush()
        EventsWorker.drain_all(timeout=30)


@pytest.fixture(scope="session")
def parameters() -> PipelineParameters:
    return load_preset("demo", TINY)


@pytest.fixture(scope="session")
def store(tmp_path_factory, mlflow_database) -> Path:
    store = tmp_path_factory.mktemp("store")
    shutil.copy(mlflow_database, store)
    return store


@pytest.fixture(scope="session")
def outcome(store, parameters) -> dict:
    """Return the outcome of a pipeline run on synthetic motion."""
    return pipeline(parameters=parameters, store=str(store))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Yield the URI of an empty database in a new PostgreSQL server."""
    with ExitStack() as stack:
        try:
            uri = stack.enter_context(postgresql_server())
        except NoPostgresError as error:
            pytest.skip(str(error))
        process_id = Path(uri.partition("host=")[2], "db", "postmaster.pid").read_text().split()[0]
        stack.enter_context(guarded(int(process_id)))
        yield uri
