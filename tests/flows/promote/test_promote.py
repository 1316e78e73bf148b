"""Promotion: only an evaluated and better version becomes champion, even if the registry changes meanwhile."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

import flows.promote
import flows.stage_flows
from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from data_contracts.store.folders import StageResult
from flows.promote import rollback
from tasks.promotion.comparison import Comparison, EvaluationData
from tasks.promotion.promote import PairedReports, judge_reports
from tasks.tracking.registry import aliased_versions
from tasks.tracking.runs import connect
from tests.flows.promote.conftest import QUICK, champion
from tests.flows.typed import sent


def test_the_first_version_is_compared_with_every_baseline(challenge, promoted, untrained, empty_store):
    challenge(untrained[0])
    decision = promoted()
    assert not decision["promoted"]
    assert {check["name"] for check in decision["checks"] if not check["passed"]} == {
        *(f"better than baseline {name}" for name in ("mean_depth", "linear")),
        "not worse than baseline mlp",
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
    for version, rival, kept in ((better, first, decision), (worse, better, refused)):
        tag = client.get_model_version("pose-uplift", str(version)).tags["promotion"]
        assert tag == f"{'promoted' if kept['promoted'] else 'not promoted'} over {rival}: {kept['reason']}"
        kept_run = client.get_run(kept["mlflow_run"])
        assert kept_run.data.tags["uplift.promotion"] == f"{version}-{rival}"
        assert kept_run.data.tags["promotion.promoted"] == str(kept["promoted"])
        difference = kept["differences"]["mpjpe_mm"]["value"]
        assert kept_run.data.metrics["difference/mpjpe_mm"] == pytest.approx(difference)
        assert {file.path for file in client.list_artifacts(kept["mlflow_run"])} == {"decision.json", "decision.md"}
    said = rollback("seen to tremble", "somebody", str(empty_store))
    assert said == {
        **{"name": "pose-uplift", "from": better, "to": first},
        **{"at": said["at"], "who": "somebody", "reason": "seen to tremble"},
    }
    versions = aliased_versions(client)
    assert (champion(empty_store), int(versions["previous"].version)) == (first, better)
    for alias in ("champion", "previous"):
        assert json.loads(versions[alias].tags["rollback"]) == said
        assert len(versions[alias].tags) <= 5
    connect(empty_store).set_registered_model_alias("pose-uplift", "challenger", str(better))
    again = promoted()
    assert "somebody rolled the challenger back (seen to tremble)" in again["reason"]
    assert champion(empty_store) == first
    client.delete_model_version_tag("pose-uplift", str(better), "rollback")
    assert promoted()["promoted"]


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
        judge_reports(empty_store, comparison, [PairedReports(data, about_trained, about_trained)], PromoteParameters())
    assert champion(empty_store) is None


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
