"""Promotion: only an evaluated and better version becomes champion, even if the registry changes meanwhile.

The versions have a known order: a pipeline trained one network, and the other has random weights.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

import flows.promote
import flows.stage_flows
from data_contracts.errors import InputError
from data_contracts.parameters import (
    ConvertParameters,
    DSTformerConfig,
    EvaluateParameters,
    PromoteParameters,
    SyntheticParameters,
)
from data_contracts.report import StageResult
from data_contracts.store.digests import StageKey
from data_contracts.store.manifests import read_manifest
from flows.rollback import rollback
from model.network.dstformer import DSTformer
from model.network.heads import JointsHead
from model.training.checkpoints import load_network, save_network
from model.training.loop import build_network
from tasks.promotion.benchmark import name_benchmark
from tasks.promotion.comparison import Comparison, EvaluationData
from tasks.promotion.promote import PairedReports, judge_reports
from tasks.promotion.training_subjects import TRAINING_SUBJECTS_FILE, read_training_subjects
from tasks.tracking.registry import aliased_versions, register_challenger
from tasks.tracking.runs import connect, track_pipeline
from tests.flows.typed import convert, promote, sent

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


def with_random_head(config: DSTformerConfig) -> DSTformer:
    """Return a network whose head is not zero, because a zero head predicts a flat pose."""
    network = DSTformer(config)
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
        connect(empty_store).log_dict(version.run_id, said, TRAINING_SUBJECTS_FILE)
        return int(version.version)

    return register


@pytest.fixture
def promoted(empty_store, windows, outcome, parameters):
    """Return a function that runs the flow on a store with the windows and baselines of the pipeline."""
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
    version = aliased_versions(connect(store)).get("champion")
    return version and int(version.version)


def test_the_first_version_must_beat_every_baseline(challenge, promoted, untrained, empty_store):
    challenge(untrained[0])
    decision = promoted()
    assert not decision["promoted"]
    assert {check["name"] for check in decision["checks"] if not check["passed"]} == {
        f"better than baseline {name}" for name in ("mean_depth", "linear", "mlp")
    }
    assert champion(empty_store) is None


def test_only_a_better_challenger_is_promoted_and_a_promotion_is_rolled_back(
    challenge, promoted, crowned, trained, untrained, windows, empty_store
):
    first = crowned(challenge(untrained[0]))
    assert promoted()["reason"] == "the challenger is the champion already"
    better = challenge(trained)
    decision = promoted()
    assert decision["promoted"]
    assert champion(empty_store) == better == decision["version"]
    assert decision["differences"]["mpjpe_mm"]["high"] < 0
    assert decision["windows"] == {windows.name: []}
    worse = challenge(untrained[1])
    refused = promoted()
    assert not refused["promoted"]
    assert refused["differences"]["mpjpe_mm"]["low"] > 0
    assert champion(empty_store) == better
    client = connect(empty_store)
    tags = client.get_model_version("pose-uplift", str(better)).tags
    for version, rival, kept in ((better, first, decision), (worse, better, refused)):
        said = json.loads(tags[f"promotion.{version}-{rival}"])
        assert said["reason"] == kept["reason"]
        kept_run = client.get_run(said["mlflow_run"])
        assert kept_run.data.tags["promotion.promoted"] == str(kept["promoted"])
        difference = kept["differences"]["mpjpe_mm"]["value"]
        assert kept_run.data.metrics["difference/mpjpe_mm"] == pytest.approx(difference)
        assert {file.path for file in client.list_artifacts(said["mlflow_run"])} == {"decision.json", "decision.md"}
    said = rollback("seen to tremble", "somebody", str(empty_store))
    assert said == {
        **{"name": "pose-uplift", "from": better, "to": first},
        **{"who": "somebody", "reason": "seen to tremble"},
    }
    versions = aliased_versions(client)
    assert (champion(empty_store), int(versions["previous"].version)) == (first, better)
    (tag,) = (value for key, value in versions["champion"].tags.items() if key.startswith("rollback."))
    assert json.loads(tag) == said
    connect(empty_store).set_registered_model_alias("pose-uplift", "challenger", str(better))
    again = promoted()
    assert "somebody rolled the challenger back (seen to tremble)" in again["reason"]
    assert champion(empty_store) == first


def test_a_rollback_needs_a_previous_champion(challenge, crowned, trained, empty_store):
    with pytest.raises(InputError, match="@champion: there is nothing to roll back"):
        rollback("", "somebody", str(empty_store))
    crowned(challenge(trained))
    with pytest.raises(InputError, match="@previous: there is nothing to roll back to"):
        rollback("", "somebody", str(empty_store))


def test_a_promotion_that_ends_between_its_aliases_is_completed_by_the_next_call(
    challenge, promoted, crowned, trained, untrained, empty_store, monkeypatch
):
    first, better = crowned(challenge(untrained[0])), challenge(trained)
    set_alias, written = MlflowClient.set_registered_model_alias, []

    def fail_at_second(self, name, alias, version):
        written.append(alias)
        if len(written) == 2:
            raise MlflowException("the connection is lost", INTERNAL_ERROR)
        set_alias(self, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", fail_at_second)
        with pytest.raises(MlflowException, match="the connection is lost"):
            promoted()
    decision = promoted()
    assert decision["promoted"]
    assert (decision["version"], decision["champion"]) == (better, first)
    aliases = connect(empty_store).get_registered_model("pose-uplift").aliases
    assert (int(aliases["champion"]), int(aliases["previous"])) == (better, first)


def test_an_error_of_the_registry_is_not_a_missing_champion(
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

    refusals = [1, 2, 3]  # at the choice of versions, the download of the champion, and the decision
    while refusals:
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "get_registered_model", locked)
            with suppress(MlflowException):  # else a task is retried later
                promoted()
        assert len(asked) >= refusals[0]
        assert champion(empty_store) == good
        refusals.pop(0)


def test_an_alias_moved_during_promotion_promotes_no_other_version(
    challenge, promoted, crowned, trained, untrained, empty_store, monkeypatch
):
    crowned(challenge(untrained[0]))
    examined = challenge(trained)
    evaluate = flows.stage_flows.evaluate

    def moved(*arguments, **options) -> StageResult:
        result = evaluate(*arguments, **options)
        challenge(untrained[1])
        return result

    monkeypatch.setattr(flows.stage_flows, "evaluate", moved)
    assert promoted()["version"] == examined
    assert champion(empty_store) == examined


def test_a_champion_moved_during_promotion_ends_it(
    challenge, promoted, crowned, trained, untrained, empty_store, monkeypatch
):
    crowned(challenge(untrained[0]))
    other = challenge(untrained[1])
    challenge(trained)
    evaluate = flows.stage_flows.evaluate

    def moved(*arguments, **options) -> StageResult:
        connect(empty_store).set_registered_model_alias("pose-uplift", "champion", str(other))
        return evaluate(*arguments, **options)

    monkeypatch.setattr(flows.stage_flows, "evaluate", moved)
    with pytest.raises(InputError, match="during the comparison; promote again"):
        promoted()
    assert champion(empty_store) == other


def test_a_report_about_other_weights_is_refused(challenge, trained, untrained, outcome, windows, empty_store):
    version = challenge(untrained[0])
    about_trained = Path(outcome["stages"]["evaluate"]["folder"])
    data = EvaluationData(windows, frozenset())
    comparison = Comparison(f"models:/pose-uplift/{version}", None, None, (data,))
    with pytest.raises(InputError, match="is the report of checkpoint"):
        judge_reports.fn(
            empty_store, comparison, [PairedReports(data, about_trained, about_trained)], PromoteParameters()
        )
    assert champion(empty_store) is None


@pytest.fixture
def tested(windows) -> list[str]:
    """Return the subjects of the test split."""
    return read_manifest(windows)["statistics"]["groups"]["test"]


@pytest.fixture
def others(outcome, parameters, windows, empty_store) -> Path:
    """Return windows of the same clips, whose test split also has two training subjects of the pipeline."""
    groups = read_manifest(windows)["statistics"]["groups"]
    split = {"split_by": "groups", "val_groups": groups["val"], "test_groups": groups["test"] + groups["train"][:2]}
    asked = ConvertParameters.model_validate(parameters.convert.model_dump() | split)
    return convert(outcome["stages"]["ingest"]["folder"], asked, store=str(empty_store)).path


def test_versions_are_compared_on_both_windows_without_their_training_subjects(
    challenge, promoted, crowned, trained, untrained, windows, others, tested, empty_store
):
    *same, known, unknown = read_manifest(others)["statistics"]["groups"]["test"]
    crowned(challenge(untrained[0], people=(known,), scored_on=others))
    challenge(trained, people=("somebody",))
    decision = promoted()
    assert decision["windows"] == {windows.name: [], others.name: [known]}
    assert set(decision["differences"]["per_group_mm"]) == {*same, unknown}
    assert f"1 training subjects are excluded from {others.name}: {known}" in decision["notes"]
    challenge(untrained[1], people=(*same, known, unknown))
    assert "is a training or validation subject of a version" in promoted()["reason"]


def test_a_version_trained_on_benchmark_subjects_is_refused(
    challenge, promoted, crowned, trained, untrained, windows, others, tested, empty_store
):
    name_benchmark(empty_store, windows.name, "test")
    crowned(challenge(untrained[0], scored_on=others))
    challenge(trained, people=(tested[0], "somebody"), scored_on=others)
    decision = promoted()
    assert not decision["promoted"]
    assert (
        f"the challenger was trained on 1 of the {len(tested)} test subjects of the benchmark: {tested[0]}"
        in decision["reason"]
    )


def test_all_versions_are_compared_on_the_benchmark(
    challenge, promoted, crowned, trained, untrained, windows, others, empty_store
):
    name_benchmark(empty_store, windows.name, "test")
    crowned(challenge(untrained[0], scored_on=others))
    challenge(trained, people=("somebody",), scored_on=others)
    decision = promoted()
    assert decision["promoted"]
    assert list(decision["windows"]) == [windows.name]


def test_synthetic_models_do_not_compete_with_real_ones_and_do_not_block_them(
    challenge, promoted, crowned, trained, untrained, empty_store
):
    real = crowned(challenge(untrained[0]))
    synthetic = challenge(trained, synthetic=True)
    refused = promoted()
    assert "synthetic motion and the champion on real motion" in refused["reason"]
    assert (champion(empty_store), refused["windows"]) == (real, {})
    crowned(synthetic)
    challenge(untrained[1])
    beaten = promoted()
    assert any("synthetic motion, so the challenger is compared with the baselines" in note for note in beaten["notes"])
    assert {check["name"].split()[0:3][-1] for check in beaten["checks"]} == {"baseline"}
    assert champion(empty_store) == synthetic


def test_unknown_training_subjects_are_not_treated_as_none(challenge, promoted, trained, empty_store):
    challenge(trained, unknown=["weights 0123: no finished stage of that digest"])
    decision = promoted()
    assert "the training subjects are not fully known: weights 0123" in decision["reason"]
    assert promoted(allow_unknown_people=True)["windows"]


def test_a_pipeline_records_the_training_subjects_of_its_version(outcome, store, windows):
    version = connect(store).get_model_version("pose-uplift", str(outcome["model"]["version"]))
    groups = read_manifest(windows)["statistics"]["groups"]
    training = read_training_subjects(store, version)
    assert training.subjects == {*groups["train"], *groups["val"]}
    assert training.synthetic
    assert not training.unknown
    assert any(file.path == TRAINING_SUBJECTS_FILE for file in connect(store).list_artifacts(version.run_id))


def test_a_required_approval_suspends_the_promotion(
    challenge, promoted, crowned, trained, untrained, parameters, empty_store
):
    first = crowned(challenge(untrained[0]))
    better = challenge(trained)
    asked = {"store": str(empty_store), "require_approval": True} | sent(evaluate=QUICK, baselines=parameters.baselines)
    flow = flows.promote.promote
    with pytest.raises(InputError, match="suspends the run of a deployment, but this run has no deployment"):
        flow(**asked)
    with get_client(sync_client=True) as client:
        deployed = client.create_deployment(flow_id=client.create_flow(flow), name="asking")
        for approve, leader in ((False, first), (True, better)):
            run = client.create_flow_run_from_deployment(deployed)
            with pytest.raises(Pause):
                run_flow(flow, flow_run=run, parameters=asked)
            assert client.read_flow_run(run.id).state.name == "Suspended"
            assert champion(empty_store) == first
            said = {"approve": approve, "who": "somebody", "why": "seen on our own clips"}
            client.resume_flow_run(run.id, run_input=said)
            decision = run_flow(flow, flow_run=client.read_flow_run(run.id), parameters=asked)
            assert decision["promoted"] is approve
            assert decision["checks"][-1]["said"].startswith("somebody approved" if approve else "somebody declined")
            assert client.read_flow_run(run.id).state.message == decision["headline"]
            assert champion(empty_store) == leader
