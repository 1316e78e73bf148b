"""`prefect deploy --all`, as typed, against a server."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL

from data_contracts.presets import load_preset

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def api():
    """Client of a server to which everything is deployed."""
    with httpx.Client(base_url=PREFECT_API_URL.value(), timeout=60) as client:
        for pool in ("cpu", "cuda"):
            client.post("/work_pools/", json={"name": pool, "type": "process"}).raise_for_status()
        subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            check=True,
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
            capture_output=True,
        )
        yield client


def deployment(api, name):
    return api.get(f"/deployments/name/{name}").raise_for_status().json()


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("pipeline/nightly", "cpu"),
        ("pipeline/here", "cpu"),
        ("ingest/cpu", "cpu"),
        ("keypoints/cpu", "cpu"),
        ("lift/cpu", "cpu"),
        ("convert/cpu", "cpu"),
        ("pretrain/cuda", "cuda"),
        ("finetune/cuda", "cuda"),
        ("baselines/cuda", "cuda"),
        ("evaluate/cuda", "cuda"),
        ("promote/cpu", "cpu"),
        ("rollback/cpu", "cpu"),
        ("gc/weekly", "cpu"),
    ],
)
def test_every_flow_has_its_deployment_with_the_presets_parameters(api, name, pool):
    found = deployment(api, name)
    assert found["work_pool_name"] == pool
    assert found["job_variables"]["env"]["PREFECT_LOGGING_EXTRA_LOGGERS"] == "model,data_contracts"
    if name == "pipeline/nightly":
        assert found["parameters"]["promote"] == "gate"
    preset = load_preset("demo").model_dump(mode="json")
    stage = name.split("/")[0]
    if stage == "rollback":  # nothing of a preset is its own
        assert set(found["parameter_openapi_schema"]["required"]) == {"reason", "who"}
        return
    if stage == "gc":
        assert found["parameters"] == {"keep_last": 14, "dry_run": False}
        assert [one["schedule"]["cron"] for one in found["schedules"]] == ["0 12 * * 0"]
        return
    assert found["parameters"]["parameters"] == (preset if stage == "pipeline" else preset[stage])
    if stage in ("evaluate", "promote"):  # so that they meet the baselines that the pipeline left
        assert found["parameters"]["fit"] == preset["baselines"]
    assert found["parameter_openapi_schema"]["properties"]["parameters"]


def test_every_deployment_says_what_it_does_and_what_its_parameters_mean(api):
    found = api.post("/deployments/filter", json={}).json()
    assert len(found) == 13
    for one in found:
        assert one["description"], one["name"]
        assert "Args:" not in one["description"]  # the flow's docstring, where prefect.yaml has none
        assert one["tags"], one["name"]
        fields = one["parameter_openapi_schema"]["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []


def test_the_forms_say_what_each_parameter_means_and_its_bounds(api):
    schema = deployment(api, "pipeline/nightly")["parameter_openapi_schema"]
    assert all(field["description"] for field in schema["properties"].values())
    assert schema["properties"]["promote"]["enum"] == ["never", "gate", "approve"]
    wait = schema["definitions"]["Runtime"]["properties"]["wait_minutes"]
    assert wait["description"].endswith("(above 0, at most 10,080).")
    assert (wait["exclusiveMinimum"], wait["maximum"], wait["default"]) == (0, 10_080, 30)


def test_one_night_runs_at_a_time(api):
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
