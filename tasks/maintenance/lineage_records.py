"""Records of finished stages by digest, from the manifests of a store and the runs in MLflow.

- The store is read first. MLflow has stages that the store does not have, e.g. those of another machine.
- Sources that cannot be read are listed in `errors`, so that their records do not count as absent.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.digests import PIPELINE
from data_contracts.store.manifests import MANIFEST, read_manifest
from tasks.tracking.connection import DATABASE, connect
from tasks.tracking.names import CHECKPOINT_TAG, CODE_TAG, DIGEST_TAG, INPUTS_TAG, STAGE_TAG
from tasks.tracking.registry import model_versions
from tasks.tracking.runs import search_stage_runs

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
    """Records of one store and of the MLflow that has its runs; `errors` lists the sources that could not be read."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.errors: list[str] = []
        self._client: MlflowClient | None = None
        self._mlflow_failed = False

    def of_digest(self, digest: str) -> Record | None:
        """Return the stage with a digest."""
        record = next((record for record in self._manifests if record.digest == digest), None)
        return record or self._first(f"tags.`{DIGEST_TAG}` = '{digest}'")

    def of_file(self, file: str) -> Record | None:
        """Return the stage that wrote a file with this SHA-256."""
        record = next((record for record in self._manifests if file in record.files.values()), None)
        return record or self._first(f"tags.`{CHECKPOINT_TAG}` = '{file}'")

    def run_of(self, record: Record) -> str | None:
        """Return the id of the stage's finished run in MLflow."""
        runs = self._search(f"tags.`{DIGEST_TAG}` = '{record.digest}'")
        return next((str(run.info.run_id) for run in runs if run.info.status == "FINISHED"), None)

    def made_from(self, record: Record) -> list[Record]:
        """Return the stages that read a stage, or one of its files, as an input."""
        outputs = {record.digest, *record.files.values()}
        readers = {reader.digest: reader for reader in self._manifests if outputs & {*(reader.inputs or {}).values()}}
        weights = (digest for name, digest in record.files.items() if name.endswith(_WEIGHTS))
        for digest in sorted({record.digest, *weights}):
            for reader in map(_of_run, self._search(f"tags.`{INPUTS_TAG}` LIKE '%{digest}%'")):
                if reader.stage != PIPELINE:
                    readers.setdefault(reader.digest, reader)
        return list(readers.values())

    @cached_property
    def versions(self) -> list[ModelVersion]:
        """All versions of the registered model."""
        return self._query(model_versions)

    @cached_property
    def _manifests(self) -> list[Record]:
        records, damaged = [], []
        for path in sorted(self.store.glob(f"*/[!.]*/{MANIFEST}")):
            try:
                records.append(of_folder(path.parent))
            except InputError:
                damaged.append(path.parent.name)
        if damaged:
            self.errors.append(f"{len(damaged)} folder(s) whose manifest is damaged: {', '.join(damaged)}")
        return records

    def _first(self, condition: str) -> Record | None:
        """Return the record of the newest finished run, or else of the newest run."""
        runs = sorted(self._search(condition), key=lambda run: run.info.status != "FINISHED")
        return _of_run(runs[0]) if runs else None

    def _search(self, condition: str) -> list[Run]:
        return self._query(lambda client: search_stage_runs(client, condition))

    def _query(self, query: Callable[[MlflowClient], list[T]]) -> list[T]:
        """Return the result of a query; after the first error of MLflow, return empty lists."""
        if self._mlflow_failed:
            return []
        try:
            if not os.environ.get("MLFLOW_TRACKING_URI") and not (self.store / DATABASE).exists():
                raise MlflowException(f"{self.store} has no {DATABASE}, and MLFLOW_TRACKING_URI is not set")
            self._client = self._client or connect(self.store)
            return query(self._client)
        except MlflowException as error:
            self._mlflow_failed = True
            self.errors.append(f"MLflow: {' '.join(str(error).split())[:200]}")
            return []


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
