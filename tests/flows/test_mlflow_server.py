"""Register, promote, compare, serve, roll back, delete: by an MLflow server on PostgreSQL that proxies the artifacts.

No client sees the database or the artifacts' folder, as in a team. PostgreSQL, Debian's package, runs in a folder of
its own and on a socket there. Of the two models the order is known: random weights, and those of a pipeline.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from data_contracts.parameters import EvaluateParameters, SyntheticParameters
from data_contracts.store.digests import StageKey
from flows.deployment.settings import StackSettings
from flows.promote import rollback
from model.data.loading import load_windows
from model.lifting.lifter import load_lifter
from model.network.network import PoseNetwork
from model.training.checkpoints import load_network, save_network
from model.training.loop import build_network
from tasks.evaluate.compare import compare
from tasks.maintenance.lineage import trace
from tasks.tracking.logged_models import log_lifter
from tasks.tracking.registry import (
    CHECKPOINTS,
    TRAINING_DATA_FILE,
    aliased_versions,
    drop_other_checkpoints,
    register_challenger,
)
from tasks.tracking.runs import connect, track_pipeline
from tests.flows.deployment.conftest import environment, request
from tests.flows.typed import promote
from tests.ports import free_ports
from tests.servers import serving

PASSWORD = "correct horse"
OF = StageKey("pipelines", "pipeline", SyntheticParameters(), {})


@pytest.fixture(scope="module")
def server(database, tmp_path_factory) -> StackSettings:
    """Return the settings of a stack with this database and a password of the user; clients do not know its store."""
    prefect, mlflow = free_ports(2)
    values = {"database_url": database, "api_password": PASSWORD, "prefect_port": prefect, "mlflow_port": mlflow}
    return StackSettings(store=str(tmp_path_factory.mktemp("server") / "store"), **values)


@contextmanager
def service(name: str, settings: StackSettings, port: int, path: str) -> Iterator[str]:
    """Yield the address of a service of the stack, started as compose.yaml does it."""
    values = settings.model_dump(include={"database_url", "prefect_port", "mlflow_port"}) | {"api_password": PASSWORD}
    folder = settings.store.parent
    variables = environment(folder, **values) | {"TMPDIR": str(folder)}
    command = [sys.executable, "-m", "flows.deployment.services", name]
    with serving(command, port, path, folder / f"{name}.log", variables) as address:
        yield address


@pytest.fixture(scope="module")
def artifacts(server) -> Path:
    """Return the artifact folder of the server."""
    return server.store / "mlartifacts"


@pytest.fixture(scope="module")
def address(server) -> Iterator[str]:
    """Yield the address of an MLflow server of the stack, with the password."""
    with service("mlflow", server, server.mlflow_port, "/health") as address:
        yield address


@pytest.fixture
def tracked_there(address, server, monkeypatch) -> None:
    """Make this test a client of the server."""
    for name, value in server.client_environment().items():
        if name.startswith("MLFLOW"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)


@pytest.fixture
def checkpoints(outcome, tmp_path) -> tuple[Path, Path]:
    """Return a checkpoint with random weights, and a trained one."""
    trained = Path(outcome["stages"]["finetune"]["folder"]) / "model.safetensors"
    config = load_network(trained).config

    def untrained() -> PoseNetwork:
        network = PoseNetwork(config)
        for weights in network.head.parameters():
            torch.nn.init.normal_(weights)
        return network

    save_network(tmp_path / "untrained.safetensors", build_network(untrained, 0), {})
    return tmp_path / "untrained.safetensors", trained


@pytest.fixture
def team_store(outcome, tmp_path) -> Path:
    """Return a store with the windows and baselines of the pipeline."""
    for stage in ("convert", "baselines"):
        folder = Path(outcome["stages"][stage]["folder"])
        (tmp_path / "store" / folder.parent.name).mkdir(parents=True)
        (tmp_path / "store" / folder.parent.name / folder.name).symlink_to(folder)
    return tmp_path / "store"


def test_both_servers_store_everything_in_postgresql_and_mlflow_requires_the_password(server, database, address):
    import psycopg2

    with service("prefect", server, server.prefect_port, "/api/health") as prefect:
        assert request(f"{prefect}/api/flows/", PASSWORD, "POST", {"name": "a flow"})[0] == 201
    url = f"{address}/api/2.0/mlflow/experiments/create"
    assert request(url, PASSWORD, "POST", {"name": "an experiment"})[0] == 200
    for url, status in ((f"{address}/version", 401), (f"{address}/health", 200)):
        assert [request(url)[0] for _ in range(8)] == 8 * [status]  # four processes answer
    assert [request(f"{address}/version", PASSWORD)[0] for _ in range(8)] == 8 * [200]
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version'")
        assert {row[0] for row in cursor.fetchall()} == {"prefect", "mlflow"}
        cursor.execute("SELECT name FROM prefect.flow")
        assert cursor.fetchall() == [("a flow",)]
        cursor.execute("SELECT name FROM mlflow.experiments WHERE name LIKE 'an %'")
        assert cursor.fetchall() == [("an experiment",)]
    assert [file.name for file in server.store.glob("*.db")] == ["mlflow-auth.db"]


def test_the_better_model_is_promoted_served_and_rolled_back(
    outcome, parameters, checkpoints, team_store, tracked_there, tmp_path
):
    windows = Path(outcome["stages"]["convert"]["folder"])
    client = connect(team_store)
    for number, checkpoint in enumerate(checkpoints, start=1):
        with track_pipeline(team_store, OF) as tracked:
            version = register_challenger(tracked, checkpoint, windows.name, {"test/mpjpe_mm": 1.0}, flip=True)
        assert int(version.version) == number
        client.log_dict(version.run_id, {"people": [], "synthetic": False}, TRAINING_DATA_FILE)
    client.set_registered_model_alias("pose-uplift", "champion", "1")

    quick = EvaluateParameters(robustness_windows=0)
    assert promote(evaluation=quick, store=str(team_store), fit=parameters.baselines)["promoted"]
    compared = compare(team_store, ["models:/pose-uplift@previous", "models:/pose-uplift@champion"])
    assert compared.models[1].difference.mpjpe_mm.high < 0
    assert "@champion" in trace(team_store, "models:/pose-uplift/2").chain.about
    (tmp_path / "temporary").mkdir()
    code = "import sys, pathlib, tasks.tracking.registry as registry;"
    code += "print(registry.fetch_checkpoint(pathlib.Path(sys.argv[1]), 'models:/pose-uplift@champion'))"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-c", code, str(team_store)]
    fetched = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert fetched.startswith(str(tmp_path / "temporary"))
    assert not list((tmp_path / "temporary").iterdir())  # a process deletes its downloads

    clip = load_windows(windows, "test").pose_2d[:5]
    with torch.inference_mode():
        expected = load_lifter(checkpoints[1])(clip)
    served = mlflow.pyfunc.load_model("models:/pose-uplift@champion").predict(clip.numpy())
    np.testing.assert_allclose(served, expected, atol=1e-5)

    rollback("it trembles", "somebody", str(team_store))
    versions = aliased_versions(client)
    assert {alias: int(version.version) for alias, version in versions.items()} == {
        **{"champion": 1, "previous": 2, "challenger": 2}
    }
    assert sorted(path.name for path in team_store.glob("ml*")) == []  # no other database and no other artifacts


def test_the_server_deletes_the_files_of_a_dropped_checkpoint(checkpoints, team_store, tracked_there, artifacts):
    def kept() -> list[str]:
        return sorted(file.name for file in artifacts.rglob("*.safetensors"))

    before = kept()
    with track_pipeline(team_store, OF) as tracked:
        for checkpoint in checkpoints:
            log_lifter(tracked, checkpoint, 0, {})
            tracked.log_artifact(checkpoint, CHECKPOINTS)
        assert kept() == sorted(before + 2 * [checkpoint.name for checkpoint in checkpoints])
        drop_other_checkpoints(tracked, [checkpoints[1]])
        experiment = tracked.client.get_run(tracked.run_id).info.experiment_id
        left = tracked.client.search_logged_models([experiment], f"source_run_id = '{tracked.run_id}'")
        assert [model.name for model in left] == [checkpoints[1].stem]
    assert kept() == sorted(before + 2 * [checkpoints[1].name])
