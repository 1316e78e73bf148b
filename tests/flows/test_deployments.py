"""`prefect deploy --all` against a server."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from data_contracts.parameters.presets import flatten, load_preset
from data_contracts.store.digests import stage_key
from data_contracts.store.manifests import read_manifest
from data_contracts.text import markdown_text
from flows.deployment.watching import follow, newest_pipeline_run
from flows.dispatch import DEPLOYMENTS
from flows.pipeline import APPROVAL_DEPLOYMENT
from tasks.tracking.runs import connect, find_runs

ROOT = Path(__file__).parent.parent.parent


POOLS = {
    "pipeline/nightly": "cpu",
    "pipeline/on-demand": "cpu",
    "ingest/motion-to-clips": "cpu",
    "keypoints/keypoints-to-tracks": "cpu",
    "lift/lift-keypoints": "cpu",
    "convert/clips-to-windows": "cpu",
    "pretrain/pretrain-backbone": "cuda",
    "finetune/finetune-lifter": "cuda",
    "baselines/fit-baselines": "cuda",
    "evaluate/evaluate-lifter": "cuda",
    "promote/promote-challenger": "cpu",
    "rollback/rollback-champion": "cpu",
    "gc/collect-garbage": "cpu",
}


@pytest.fixture(scope="module")
def api():
    """Yield a client of a server with all deployments; other tests may have used the same server."""
    with httpx.Client(base_url=PREFECT_API_URL.value(), timeout=60) as client:
        for pool in ("cpu", "cuda"):
            client.post("/work_pools/", json={"name": pool, "type": "process"})
            client.get(f"/work_pools/{pool}").raise_for_status()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        yield client


def deployment(api, name):
    return api.get(f"/deployments/name/{name}").raise_for_status().json()


@pytest.mark.parametrize(("name", "pool"), POOLS.items())
def test_every_flow_has_a_deployment_with_the_preset_of_the_settings(api, name, pool):
    found = deployment(api, name)
    assert found["work_pool_name"] == pool
    assert found["job_variables"]["env"]["PREFECT_LOGGING_EXTRA_LOGGERS"] == "model,data_contracts"
    if name == "pipeline/nightly":
        assert found["parameters"]["promote"] == "gate"
    stage = name.split("/")[0]
    if stage == "rollback":  # a rollback has no preset
        assert set(found["parameter_openapi_schema"]["required"]) == {"reason", "who"}
        return
    if stage == "gc":
        assert found["parameters"] == {"keep_last": 14, "dry_run": False}
        assert [one["schedule"]["cron"] for one in found["schedules"]] == ["0 12 * * 0"]
        return
    assert found["parameters"]["preset"] == "demo"
    fields = found["parameter_openapi_schema"]["properties"]
    assert fields["overrides"]["type"] == "array"
    assert fields["overrides"]["items"] == {"type": "string"}
    assert fields["preset"]["type"] == "string"
    assert "parameters" not in fields
    assert found["enforce_parameter_schema"]


def test_prefect_yaml_has_these_deployments_and_no_others():
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}" for entry in entries} == POOLS.keys()
    assert {*DEPLOYMENTS.values(), APPROVAL_DEPLOYMENT} <= POOLS.keys()


def test_every_deployment_and_parameter_has_a_description(api):
    for name in POOLS:
        one = deployment(api, name)
        assert one["description"], name
        assert "Args:" not in one["description"]  # the flow's docstring, where prefect.yaml has none
        assert one["tags"], name
        fields = one["parameter_openapi_schema"]["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []


def test_the_form_of_the_nightly_run_has_nine_fields_and_describes_each(api):
    schema = deployment(api, "pipeline/nightly")["parameter_openapi_schema"]
    order = ["source", "preset", "overrides", "promote", "start_from", "fresh", "train_on", "clip_list", "store"]
    assert sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"]) == order
    assert not schema.get("definitions")
    assert all(len(field["description"]) > 20 for field in schema["properties"].values())
    assert schema["properties"]["promote"]["enum"] == ["never", "gate", "approve"]


def start_run(api, name, parameters):
    """Create a run of a deployment, and execute it in its own process as a worker does; return the run."""
    path = f"/deployments/{deployment(api, name)['id']}/create_flow_run"
    run = api.post(path, json={"parameters": parameters}).raise_for_status().json()["id"]
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", run]
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return api.get(f"/flow_runs/{run}").raise_for_status().json() | {"output": done.stdout + done.stderr}


def test_a_deployment_run_with_overrides_takes_all_other_parameters_from_the_preset(api, outcome, store):
    overrides = ["pretrain.max_epochs=1", "pretrain.seed=22"]
    inputs = {"windows": outcome["stages"]["convert"]["folder"], "store": str(store)}
    run = start_run(api, "pretrain/pretrain-backbone", {**inputs, "overrides": overrides})
    assert run["state"]["type"] == "COMPLETED", run["state"]["message"]
    client, expected = connect(store), load_preset("demo", overrides).pretrain
    identity = stage_key("pretrain", {"windows": Path(inputs["windows"])}, expected)
    (found,) = find_runs(client, identity.digest)
    assert read_manifest(store / "runs" / identity.digest)["parameters"] == identity.settings
    logged = {name: str(value) for name, value in flatten(identity.settings).items()}
    assert {name: found.data.params[name] for name in logged} == logged
    assert logged["network.stem_width"] == "512"  # the default of the class is 384


def test_a_deployment_run_with_a_bad_parameter_computes_nothing_and_names_it(api, tmp_path):
    message = "max_epoch: Extra inputs are not permitted"
    asked = {"overrides": ["pretrain.max_epoch=1"], "store": str(tmp_path / "store")}
    run = start_run(api, "pipeline/on-demand", asked)
    assert run["state"]["type"] == "FAILED"
    # The runner may replace the message of the state by the exit code of the process.
    assert message in run["state"]["message"] + " ".join(run["output"].split())
    assert not (tmp_path / "store").exists()
    of_run = {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": ["pipeline-summary"]}}
    (summary,) = api.post("/artifacts/filter", json={"artifacts": of_run}).json()
    assert f"/artifacts/artifact/{summary['id']}" in run["output"]
    assert markdown_text(message) in summary["description"]
    with get_client(sync_client=True) as client:
        shown: list[str] = []
        assert follow(client, UUID(run["id"]), shown.append).is_failed()
        assert [line.split()[1:] for line in shown] == [["pipeline:", "Failed"]]
        assert newest_pipeline_run(client)


def test_parameters_as_a_tree_are_refused_by_the_command_line_of_prefect(api):
    command = [sys.executable, "-m", "prefect", "deployment", "run", "pipeline/nightly", "--params"]
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "COLUMNS": "500"}
    asked = json.dumps({"parameters": {"pretrain": {"max_epochs": 1}}})
    done = subprocess.run([*command, asked], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "specified but not found on the deployment: 'parameters'" in done.stdout + done.stderr


def test_one_nightly_run_runs_at_a_time(api):
    nightly = deployment(api, "pipeline/nightly")
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_the_nightly_schedule_makes_runs_at_three(api):
    nightly = deployment(api, "pipeline/nightly")
    now = datetime.now(UTC)
    api.post(
        f"/deployments/{nightly['id']}/schedule",
        json={"start_time": now.isoformat(), "end_time": (now + timedelta(days=3)).isoformat(), "min_runs": 2},
    ).raise_for_status()
    runs = api.post("/flow_runs/filter", json={"deployments": {"id": {"any_": [nightly["id"]]}}}).json()
    assert len(runs) >= 2
    assert {run["expected_start_time"][11:16] for run in runs} == {"03:00"}
