"""One Prefect test harness for all flow tests, and a pipeline run small enough for seconds."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.testing.utilities import prefect_test_harness

from benchmarks.postgresql import NoPostgresError, postgresql_server
from data_contracts.parameters import PipelineParameters
from data_contracts.presets import load_preset
from tests.flows.typed import pipeline

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


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URI of an empty database in a PostgreSQL server of its own."""
    with ExitStack() as stack:
        try:
            uri = stack.enter_context(postgresql_server())
        except NoPostgresError as error:
            pytest.skip(str(error))
        yield uri
