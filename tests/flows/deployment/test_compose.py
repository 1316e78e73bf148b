"""compose.yaml with the variables of a filled-in .env: every documented variable reaches every service."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from flows.deployment.settings import ROOT, StackSettings

SET_BY_COMPOSE = {"UPLIFT_STORE": "/store", "UPLIFT_HOST": "0.0.0.0", "UPLIFT_PREFECT_PORT": "4200"}
SET_BY_COMPOSE |= {"UPLIFT_MLFLOW_PORT": "5000", "UPLIFT_ALLOWED_HOSTS": "prefect mlflow value of UPLIFT_ALLOWED_HOSTS"}


def interpolated(text: str, values: dict[str, str]) -> str:
    """Return the text with `${NAME:-default}` replaced, innermost first."""
    pattern = re.compile(r"\$\{(\w+):-([^${}]*)\}")
    while pattern.search(text):
        text = pattern.sub(lambda found: values.get(found[1]) or found[2], text)
    return text


def environments(folder: Path) -> dict[str, dict[str, str]]:
    """Return service -> environment, by docker compose if it is installed, else by the rules used in the file."""
    compose = ["docker", "compose", "--profile", "cuda", "config", "--format", "json"]
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        done = subprocess.run(compose, cwd=folder, check=True, capture_output=True, text=True)
        return {name: service["environment"] for name, service in json.loads(done.stdout)["services"].items()}
    values = {name: value or "" for name, value in dotenv_values(folder / ".env").items()}
    tree: dict[str, Any] = yaml.safe_load(interpolated((folder / "compose.yaml").read_text(), values))
    found = {}
    for name, service in tree["services"].items():
        files = [folder / file["path"] for file in service.get("env_file", [])]
        of_files = {key: value for file in files for key, value in dotenv_values(file).items() if value is not None}
        found[name] = of_files | service["environment"]
    return found


@pytest.fixture
def rendered(tmp_path) -> dict[str, dict[str, str]]:
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert {name for name in names if name.startswith("UPLIFT_")} == {
        f"UPLIFT_{field.upper()}" for field in StackSettings.model_fields
    }
    (tmp_path / ".env").write_text("".join(f"{name}='value of {name}'\n" for name in names))
    return environments(tmp_path)


def test_every_documented_variable_reaches_every_service(rendered):
    assert {*rendered} == {"postgres", "prefect", "mlflow", "register", "worker-cpu", "worker-cuda"}
    for service in {*rendered} - {"postgres"}:
        for field in StackSettings.model_fields:
            name = f"UPLIFT_{field.upper()}"
            assert rendered[service][name] == SET_BY_COMPOSE.get(name, f"value of {name}"), (service, name)


def test_clients_reach_the_servers_by_the_names_of_their_services(rendered):
    for service in ("register", "worker-cpu", "worker-cuda"):
        assert rendered[service]["PREFECT_API_URL"] == "http://prefect:4200/api"
        assert rendered[service]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert {"prefect", "mlflow"} <= set(rendered["prefect"]["UPLIFT_ALLOWED_HOSTS"].split())


def test_without_a_env_file_the_database_is_the_service_postgres(tmp_path):
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    url = environments(tmp_path)["prefect"]["UPLIFT_DATABASE_URL"]
    assert url == "postgresql://uplift:uplift@postgres/uplift"
