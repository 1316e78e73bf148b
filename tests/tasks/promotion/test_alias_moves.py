"""A promotion or rollback that is killed at any write to the registry ends the same when it is called again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from tasks.promotion.comparison import find_comparison
from tasks.promotion.decision import Decision
from tasks.promotion.promote import decide, swap_back
from tasks.promotion.rules import Check, Verdict, refused
from tasks.tracking.alias_moves import MOVE_TAG, AliasMove
from tasks.tracking.registry import MODEL_NAME, aliased_versions
from tasks.tracking.runs import EXPERIMENT, connect

# Writes that both commands make after their record: the move, two aliases, the removal of the move.
KILLED_BEFORE = {"the move": 0, "the first alias": 1, "the second alias": 2, "the removal of the move": 3}
CASES = [(command, write) for command in ("rollback", "promotion") for write in KILLED_BEFORE]
# Runs each case in a fork that kills itself with SIGKILL before the given write.
RUN_AND_KILL = """
import json, os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from data_contracts.parameters import PromoteParameters
from tasks.promotion.promote import decide, swap_back
from tasks.promotion.comparison import Comparison
from tasks.promotion.rules import Check, Verdict

def killed_at(write, left):
    def write_or_die(*arguments, **named):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return write(*arguments, **named)
    return write_or_die

for store, command, writes in json.loads(sys.argv[1]):
    if child := os.fork():
        if os.waitpid(child, 0)[1] != signal.SIGKILL:
            sys.exit(f"{command} was not killed before write {writes}")
        continue
    left = [writes]
    for name in ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_tag"):
        setattr(MlflowClient, name, killed_at(getattr(MlflowClient, name), left))
    if command == "rollback":
        swap_back(Path(store), "jitter", "somebody")
    else:
        third, second = (f"models:/pose-uplift/{number}" for number in (3, 2))
        verdict = Verdict((Check("better", True, "better by 4 mm"),), None)
        decide(Path(store), Comparison(third, second, second), verdict, PromoteParameters())
    os._exit(0)
"""


def add_versions(store: Path, **aliases: str) -> MlflowClient:
    """Register three versions, which no command reads the weights of, and set aliases."""
    client = connect(store)
    client.create_registered_model(MODEL_NAME)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    for _ in range(3):
        client.create_model_version(MODEL_NAME, store.as_uri(), run_id=run.info.run_id)
    for alias, version in aliases.items():
        client.set_registered_model_alias(MODEL_NAME, alias, version)
    return client


@pytest.fixture(scope="module")
def killed(mlflow_database, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Stores by command and write: champion 2, previous 1, challenger 3, and then the killed command."""
    stores = {case: tmp_path_factory.mktemp("killed") for case in CASES}
    for store in stores.values():
        shutil.copy(mlflow_database, store)
        add_versions(store, champion="2", previous="1", challenger="3")
    cases = json.dumps([(str(store), command, KILLED_BEFORE[write]) for (command, write), store in stores.items()])
    # MLflow writes the URI of the last store into the environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", RUN_AND_KILL, cases], check=True, env=environment, timeout=300)
    return stores


def aliases(client: MlflowClient) -> tuple[str | None, str | None]:
    """Return champion and previous as MLflow stores them."""
    set_aliases = client.get_registered_model(MODEL_NAME).aliases
    return tuple(
        None if set_aliases.get(alias) is None else str(set_aliases[alias]) for alias in ("champion", "previous")
    )


def read_aliases(client: MlflowClient) -> tuple[str, str]:
    """Return champion and previous as every stage reads them."""
    versions = aliased_versions(client)
    return str(versions["champion"].version), str(versions["previous"].version)


def promote_again(store: Path) -> Decision:
    parameters = PromoteParameters()
    comparison = find_comparison(store, 3, "test", parameters)
    return decide(store, comparison, refused(str(comparison.refusal)), parameters)


def interrupt_promotion(client: MlflowClient) -> None:
    """Leave the move of a promotion of version 3, with neither alias set."""
    before = client.get_registered_model(MODEL_NAME).aliases
    after = {"champion": "3", "previous": str(before["champion"])}
    move = AliasMove(kind="promotion", record="a run", before={k: str(v) for k, v in before.items()}, after=after)
    client.set_registered_model_tag(MODEL_NAME, MOVE_TAG, move.model_dump_json())


@pytest.mark.parametrize("write", KILLED_BEFORE)
def test_a_killed_rollback_is_completed_by_the_same_command(killed, write):
    store = killed["rollback", write]
    client = connect(store)
    assert read_aliases(client) == (("2", "1") if write == "the move" else ("1", "2"))
    result = swap_back(store, "jitter", "somebody")
    assert (result["from"], result["to"]) == (2, 1)
    assert aliases(client) == ("1", "2")
    assert MOVE_TAG not in client.get_registered_model(MODEL_NAME).tags


@pytest.mark.parametrize("write", [write for write in KILLED_BEFORE if write != "the move"])
def test_a_killed_promotion_is_completed_with_its_own_decision(killed, write):
    store = killed["promotion", write]
    client = connect(store)
    assert read_aliases(client) == ("3", "2")
    decision = promote_again(store)
    assert decision.promoted
    assert (decision.version, decision.champion) == (3, 2)
    assert "better by 4 mm" in decision.headline
    assert client.get_model_version(MODEL_NAME, "3").tags["promotion"] == "promoted over 2: better by 4 mm"
    assert client.get_run(decision.mlflow_run).data.tags["uplift.promotion"] == "3-2"
    assert aliases(client) == ("3", "2")
    assert promote_again(store).reason == "the challenger is the champion already"


def test_a_promotion_killed_before_its_move_has_moved_nothing(killed):
    client = connect(killed["promotion", "the move"])
    assert read_aliases(client) == aliases(client) == ("2", "1")


def test_a_rollback_after_a_killed_promotion_returns_to_the_champion_before(empty_store):
    client = add_versions(empty_store, champion="2", previous="1")
    interrupt_promotion(client)
    result = swap_back(empty_store, "jitter", "somebody")
    assert (result["from"], result["to"]) == (3, 2)
    assert aliases(client) == ("2", "3")


def test_a_promotion_after_a_killed_one_keeps_its_champion_as_previous(empty_store):
    client = add_versions(empty_store, champion="2", previous="1", challenger="1")
    interrupt_promotion(client)
    comparison = find_comparison(empty_store, None, "test", PromoteParameters())
    decide(empty_store, comparison, Verdict((Check("better", True, "better"),), None), PromoteParameters())
    assert aliases(client) == ("1", "3")


def test_an_alias_that_a_person_sets_after_a_killed_move_is_kept(empty_store):
    client = add_versions(empty_store, champion="2")
    interrupt_promotion(client)
    client.set_registered_model_alias(MODEL_NAME, "champion", "1")
    assert str(aliased_versions(client)["champion"].version) == "1"
    with pytest.raises(InputError, match="@previous: there is nothing to roll back to"):
        swap_back(empty_store, "jitter", "somebody")
    assert aliases(client) == ("1", None)
    assert MOVE_TAG not in client.get_registered_model(MODEL_NAME).tags


def test_equal_aliases_are_an_error(empty_store):
    add_versions(empty_store, champion="2", previous="2")
    with pytest.raises(InputError, match="@champion and @previous are both version 2"):
        swap_back(empty_store, "jitter", "somebody")
