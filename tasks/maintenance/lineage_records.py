"""Records of finished stages by digest, from the manifests of a store and the runs in MLflow.

- The store is read first. MLflow has stages that the store does not have, e.g. those of another machine.
- Sources that cannot be read are listed in `unasked`, so that their records do not count as absent.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.manifests import MANIFEST, read_manifest
from tasks.tracking.registry import CHECKPOINT_TAG, model_versions
from tasks.tracking.runs import CODE_TAG, DIGEST_TAG, INPUTS_TAG, STAGE_TAG, connect, find_runs, search_stage_runs

T = TypeVar("T")
_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Record:
    """A finished stage; `inputs` or `manifest` is None without a record of it."""

    stage: str
    digest: str
    created: str
    code: dict[str, Any]
    where: str
    inputs: dict[str, str] | None
    files: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None


class Records:
    """Records of one store and of the MLflow that has its runs."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.unasked: list[str] = []

    def of_digest(self, digest: str) -> Record | None:
        """Return the stage with a digest."""
        record = next((record for record in self._manifests if record.digest == digest), None)
        return record or self._first(lambda client: find_runs(client, digest))

    def of_file(self, file: str) -> Record | None:
        """Return the stage that wrote a file with this SHA-256."""
        record = next((record for record in self._manifests if file in record.files.values()), None)
        return record or self._first(lambda client: search_stage_runs(client, f"tags.`{CHECKPOINT_TAG}` = '{file}'"))

    def run_of(self, record: Record) -> str | None:
        """Return the id of the stage's finished run in MLflow."""
        runs = self._ask(lambda client: find_runs(client, record.digest))
        return next((str(run.info.run_id) for run in runs if run.info.status == "FINISHED"), None)

    def made_from(self, record: Record) -> list[Record]:
        """Return the stages that read a stage, or one of its files, as an input."""
        outputs = {record.digest, *record.files.values()}
        readers = {reader.digest: reader for reader in self._manifests if outputs & {*(reader.inputs or {}).values()}}
        weights = (digest for name, digest in record.files.items() if name.endswith(_WEIGHTS))
        for digest in sorted({record.digest, *weights}):
            condition = f"tags.`{INPUTS_TAG}` LIKE '%{digest}%'"
            for reader in map(_of_run, self._ask(partial(search_stage_runs, condition=condition))):
                if reader.stage != "pipeline":
                    readers.setdefault(reader.digest, reader)
        return list(readers.values())

    @cached_property
    def versions(self) -> list[ModelVersion]:
        """All versions of the registered model."""
        return self._ask(model_versions)

    @cached_property
    def _manifests(self) -> list[Record]:
        return list(self._read())

    def _read(self) -> Iterator[Record]:
        damaged = []
        for path in sorted(self.store.glob(f"*/[!.]*/{MANIFEST}")):
            try:
                yield of_folder(path.parent)
            except InputError:
                damaged.append(path.parent.name)
        if damaged:
            self.unasked.append(f"{len(damaged)} folder(s) whose manifest is damaged: {', '.join(damaged)}")

    def _first(self, query: Callable[[MlflowClient], list[Run]]) -> Record | None:
        """Return the record of the newest finished run of a query, or else of the newest run."""
        runs = sorted(self._ask(query), key=lambda run: run.info.status != "FINISHED")
        return _of_run(runs[0]) if runs else None

    def _ask(self, query: Callable[[MlflowClient], list[T]]) -> list[T]:
        if self._client is None:
            return []
        try:
            return query(self._client)
        except MlflowException as error:
            self._client = None
            self.unasked.append(f"MLflow: {' '.join(str(error).split())[:200]}")
            return []

    @cached_property
    def _client(self) -> MlflowClient | None:
        if not os.environ.get("MLFLOW_TRACKING_URI") and not (self.store / "mlflow.db").exists():
            self.unasked.append(f"MLflow: {self.store} has no MLflow database, and MLFLOW_TRACKING_URI is not set")
            return None
        try:
            return connect(self.store)
        except MlflowException as error:
            self.unasked.append(f"MLflow: {' '.join(str(error).split())[:200]}")
            return None


def of_folder(folder: Path) -> Record:
    """Return the record of a finished stage folder."""
    manifest = read_manifest(folder)
    return Record(
        manifest["stage"],
        manifest["digest"],
        manifest["created"],
        manifest.get("code", {}),
        str(folder),
        manifest["inputs"],
        manifest["files"],
        manifest,
    )


def _of_run(run: Run) -> Record:
    tags = run.data.tags
    created = datetime.fromtimestamp((run.info.end_time or run.info.start_time) / 1000, UTC)
    where = f"MLflow run {run.info.run_id}, which {str(run.info.status).lower()}"
    files = {f"best{_WEIGHTS}": tags[CHECKPOINT_TAG]} if CHECKPOINT_TAG in tags else {}
    inputs = json.loads(tags[INPUTS_TAG]) if INPUTS_TAG in tags else None
    return Record(
        tags[STAGE_TAG],
        tags[DIGEST_TAG],
        f"{created:%Y-%m-%dT%H:%M:%SZ}",
        json.loads(tags.get(CODE_TAG, "{}")),
        where,
        inputs,
        files,
    )
