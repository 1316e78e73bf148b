"""A glance at MLflow's tracking server, over its REST API."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from data_contracts.errors import InputError
from tasks.mlflow_runs.names import EXPERIMENT, MODEL_NAME
from tasks.mlflow_runs.seen import TIMEOUT_SECONDS, SeenRun

_REST = "api/2.0/mlflow"


class Server:
    """As `tasks.mlflow_runs.glance.looking.Glance` says."""

    def __init__(self, uri: str) -> None:
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        self._client = httpx.Client(
            base_url=f"{uri.rstrip('/')}/{_REST}/",
            timeout=TIMEOUT_SECONDS,
            auth=(user, password or "") if user else None,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        self._uri = uri

    def runs(self, wanted: Mapping[str, str], limit: int) -> list[SeenRun]:
        experiment = self._ask("experiments/get-by-name", {"experiment_name": EXPERIMENT})
        if experiment is None:
            return []
        asked = [
            f"attributes.status = '{value}'" if key == "status" else f"tags.`{key}` = '{value}'"
            for key, value in wanted.items()
        ]
        found = self._ask(
            "runs/search",
            body={
                "experiment_ids": [experiment["experiment"]["experiment_id"]],
                "filter": " and ".join(asked),
                "max_results": limit,
                "order_by": ["start_time DESC"],
            },
        )
        return [_of_json(run) for run in (found or {}).get("runs", [])]

    def aliases(self) -> dict[str, str]:
        model = self._model()
        return {entry["alias"]: str(entry["version"]) for entry in model.get("aliases", [])}

    def version_tags(self, version: str) -> dict[str, str]:
        found = self._ask("model-versions/get", {"name": MODEL_NAME, "version": version})
        return _pairs((found or {}).get("model_version", {}).get("tags", []))

    def model_tags(self) -> dict[str, str]:
        return _pairs(self._model().get("tags", []))

    def _model(self) -> dict[str, Any]:
        found = self._ask("registered-models/get", {"name": MODEL_NAME})
        return dict((found or {}).get("registered_model", {}))

    def _ask(
        self, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """The answer; none where MLflow says that there is no such thing."""
        try:
            answer = self._client.request("POST" if body else "GET", path, params=query, json=body)
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise InputError(f"MLflow: {self._uri} does not answer ({error!r:.200})") from error
        if said.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            return None
        if not answer.is_success:
            raise InputError(f"MLflow: {self._uri} answers {answer.status_code} ({said.get('message', '')!s:.200})")
        return said


def _of_json(run: Mapping[str, Any]) -> SeenRun:
    info, data = run["info"], run["data"]
    began, ended = info["start_time"] / 1000, info.get("end_time")
    tags, metrics = _pairs(data.get("tags", [])), _pairs(data.get("metrics", []))
    name = info.get("run_name", "")
    return SeenRun(info["run_id"], name, info["status"], began, ended / 1000 if ended else None, tags, metrics)


def _pairs(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in entries}
