"""A store with versions of a known order: a pipeline trained one network, and the others have random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data_contracts.parameters import EvaluateParameters, NetworkConfig, PromoteParameters, SyntheticParameters
from data_contracts.store.digests import StageKey
from model.network.heads import JointsHead
from model.network.network import PoseNetwork
from model.training.checkpoints import load_network, save_network
from model.training.loop import build_network
from tasks.tracking.registry import TRAINING_DATA_FILE, aliased_versions, register_challenger
from tasks.tracking.runs import connect, track_pipeline
from tests.flows.typed import promote

QUICK = EvaluateParameters(robustness_windows=8)


@pytest.fixture(scope="session")
def windows(outcome) -> Path:
    return Path(outcome["stages"]["convert"]["folder"])


@pytest.fixture(scope="session")
def trained(outcome) -> Path:
    return Path(outcome["stages"]["finetune"]["folder"]) / "model.safetensors"


@pytest.fixture(scope="session")
def untrained(trained, tmp_path_factory) -> list[Path]:
    """Return checkpoints of the same network with random weights."""
    config, folder = load_network(trained).config, tmp_path_factory.mktemp("untrained")
    files = [folder / f"{seed}.safetensors" for seed in range(2)]
    for seed, file in enumerate(files):
        save_network(file, build_network(lambda: with_random_head(config), seed), {})
    return files


def with_random_head(config: NetworkConfig) -> PoseNetwork:
    """Return a network whose head is not zero, because a zero head predicts a flat pose."""
    network = PoseNetwork(config)
    assert isinstance(network.head, JointsHead)
    torch.nn.init.normal_(network.head.joints.weight)
    return network


@pytest.fixture
def challenge(empty_store, windows):
    """Return a function that makes a checkpoint with the given training subjects the challenger."""

    def register(checkpoint: Path, people: tuple[str, ...] = (), scored_on: Path = windows, **learned: Any) -> int:
        with track_pipeline(empty_store, StageKey("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
            version = register_challenger(tracked, checkpoint, scored_on.name, {}, flip=True)
        said = {"people": list(people), "synthetic": False, **learned}
        connect(empty_store).log_dict(version.run_id, said, TRAINING_DATA_FILE)
        return int(version.version)

    return register


@pytest.fixture(scope="session")
def reports(tmp_path_factory) -> Path:
    """Return the folder of the reports of all tests, which evaluate the same checkpoints on the same windows."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture
def promoted(empty_store, outcome, parameters, reports):
    """Return a function that runs the flow on a store with the windows and baselines of the pipeline."""
    (empty_store / "reports").symlink_to(reports)
    for stage in ("convert", "baselines"):
        folder = Path(outcome["stages"][stage]["folder"])
        (empty_store / folder.parent.name).mkdir()
        (empty_store / folder.parent.name / folder.name).symlink_to(folder)
    return lambda **asked: promote(PromoteParameters(**asked), QUICK, store=str(empty_store), fit=parameters.baselines)


@pytest.fixture
def crowned(empty_store):
    """Return a function that makes a version the champion without evaluation."""

    def crown(version: int) -> int:
        connect(empty_store).set_registered_model_alias("pose-uplift", "champion", str(version))
        return version

    return crown


def champion(store: Path) -> int | None:
    """Return the number of the champion."""
    version = aliased_versions(connect(store)).get("champion")
    return version and int(version.version)
