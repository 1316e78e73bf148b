"""Promotion: only what was examined and is better becomes champion, whatever happens to the registry meanwhile.

The contenders are networks whose order is known beforehand: one that a pipeline trained, and one with random weights.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

import flows.promote
from data_contracts.errors import InputError
from data_contracts.parameters import DSTformerConfig, PromoteParameters, SyntheticParameters
from data_contracts.report import StageResult
from data_contracts.store.digests import Identity
from flows.promote import promote
from flows.rollback import rollback
from model.learning.checkpoints import load_network, save_network
from model.network.dstformer import DSTformer
from model.network.heads import JointsHead
from model.training import build_network
from tasks.mlflow_runs.registry import aliased_versions, register_challenger
from tasks.mlflow_runs.runs import connect, track_pipeline
from tasks.promote import Contenders, decide


@pytest.fixture(scope="session")
def windows(outcome) -> Path:
    return Path(outcome["stages"]["convert"]["folder"])


@pytest.fixture(scope="session")
def trained(outcome) -> Path:
    return Path(outcome["stages"]["finetune"]["folder"]) / "model.safetensors"


@pytest.fixture(scope="session")
def untrained(trained, tmp_path_factory) -> list[Path]:
    """Checkpoints of the same network with random weights."""
    config, folder = load_network(trained).config, tmp_path_factory.mktemp("untrained")
    files = [folder / f"{seed}.safetensors" for seed in range(2)]
    for seed, file in enumerate(files):
        save_network(file, build_network(lambda: with_random_head(config), seed), {})
    return files


def with_random_head(config: DSTformerConfig) -> DSTformer:
    """A network whose head does not begin at zero, which would be the flat pose of the image."""
    network = DSTformer(config)
    assert isinstance(network.head, JointsHead)
    torch.nn.init.normal_(network.head.joints.weight)
    return network


@pytest.fixture
def challenge(empty_store, windows):
    """Makes a checkpoint the challenger; returns its version."""

    def register(checkpoint: Path) -> int:
        with track_pipeline(empty_store, Identity("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
            version = register_challenger(tracked, checkpoint, windows.name, 27, {}, flip=True)
        return int(version.version)

    return register


@pytest.fixture
def promoted(empty_store, windows, outcome, parameters):
    """Runs the flow, where the pipeline's baselines are."""
    rivals = Path(outcome["stages"]["baselines"]["folder"])
    shutil.copytree(rivals, empty_store / "baselines" / rivals.name)
    return lambda: promote(windows=str(windows), store=str(empty_store), fit=parameters.baselines)


@pytest.fixture
def crowned(empty_store):
    """Makes a version the champion, whatever it is worth; returns it."""

    def crown(version: int) -> int:
        connect(empty_store).set_registered_model_alias("pose-uplift", "champion", str(version))
        return version

    return crown


def champion(store: Path) -> int | None:
    version = aliased_versions(connect(store)).get("champion")
    return version and int(version.version)


def test_the_first_must_beat_every_baseline(challenge, promoted, untrained, empty_store):
    challenge(untrained[0])
    decision = promoted()
    assert not decision["promoted"]
    assert {check["name"] for check in decision["checks"] if not check["passed"]} == {
        f"better than baseline {name}" for name in ("mean_depth", "linear", "mlp")
    }
    assert champion(empty_store) is None


def test_a_better_challenger_is_promoted_a_worse_one_not_and_a_promotion_is_undone(
    challenge, promoted, crowned, trained, untrained, empty_store
):
    first = crowned(challenge(untrained[0]))
    assert promoted()["reason"] == "the challenger is the champion already"
    better = challenge(trained)
    decision = promoted()
    assert decision["promoted"]
    assert champion(empty_store) == better == decision["version"]
    assert decision["difference"]["high"] < 0
    worse = challenge(untrained[1])
    refused = promoted()
    assert not refused["promoted"]
    assert refused["difference"]["low"] > 0
    assert champion(empty_store) == better
    client = connect(empty_store)
    tags = client.get_model_version("pose-uplift", str(better)).tags
    for version, rival, kept in ((better, first, decision), (worse, better, refused)):
        said = json.loads(tags[f"promotion.{version}-{rival}"])
        assert said["reason"] == kept["reason"]
    said = rollback("seen to tremble", "somebody", str(empty_store))
    assert said == {
        **{"name": "pose-uplift", "from": better, "to": first},
        **{"who": "somebody", "reason": "seen to tremble"},
    }
    versions = aliased_versions(client)
    assert (champion(empty_store), int(versions["previous"].version)) == (first, better)
    (tag,) = (value for key, value in versions["champion"].tags.items() if key.startswith("rollback."))
    assert json.loads(tag) == said


def test_there_is_nothing_to_go_back_to_before_a_second_champion(challenge, crowned, trained, empty_store):
    with pytest.raises(InputError, match="@champion: there is nothing to go back to"):
        rollback("", "somebody", str(empty_store))
    crowned(challenge(trained))
    with pytest.raises(InputError, match="@previous: there is nothing to go back to"):
        rollback("", "somebody", str(empty_store))


def test_a_registry_that_cannot_be_asked_is_not_one_without_a_champion(
    challenge, promoted, crowned, trained, untrained, empty_store, monkeypatch
):
    good = crowned(challenge(trained))
    challenge(untrained[0])
    ask, asked = MlflowClient.get_registered_model, []

    def locked(self, name):
        asked.append(name)
        if len(asked) == refusals[0]:
            raise MlflowException("database is locked", INTERNAL_ERROR)
        return ask(self, name)

    refusals = [1, 2, 3]  # when the contenders are found, when the champion is fetched, when it is decided
    while refusals:
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "get_registered_model", locked)
            with pytest.raises(MlflowException, match="database is locked"):
                promoted()
        assert champion(empty_store) == good
        refusals.pop(0)


def test_an_alias_that_moves_meanwhile_crowns_nobody_who_was_not_examined(
    challenge, promoted, crowned, trained, untrained, empty_store, monkeypatch
):
    crowned(challenge(untrained[0]))
    examined = challenge(trained)
    evaluate = flows.promote.evaluate

    def moved(*arguments, **options) -> StageResult:
        result = evaluate(*arguments, **options)
        challenge(untrained[1])
        return result

    monkeypatch.setattr(flows.promote, "evaluate", moved)
    assert promoted()["version"] == examined
    assert champion(empty_store) == examined


def test_a_champion_that_changes_meanwhile_ends_the_comparison(
    challenge, promoted, crowned, trained, untrained, empty_store, monkeypatch
):
    crowned(challenge(untrained[0]))
    other = challenge(untrained[1])
    challenge(trained)
    evaluate = flows.promote.evaluate

    def moved(*arguments, **options) -> StageResult:
        connect(empty_store).set_registered_model_alias("pose-uplift", "champion", str(other))
        return evaluate(*arguments, **options)

    monkeypatch.setattr(flows.promote, "evaluate", moved)
    with pytest.raises(InputError, match="it was moved; promote again"):
        promoted()
    assert champion(empty_store) == other


def test_a_report_about_other_weights_decides_nothing(challenge, trained, untrained, outcome, windows, empty_store):
    version = challenge(untrained[0])
    about_trained = Path(outcome["stages"]["evaluate"]["folder"])
    contenders = Contenders(f"models:/pose-uplift/{version}", None, windows)
    with pytest.raises(InputError, match="is about a checkpoint"):
        decide.fn(empty_store, contenders, about_trained, None, PromoteParameters())
    assert champion(empty_store) is None
