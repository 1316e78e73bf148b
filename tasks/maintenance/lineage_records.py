"""What is known of finished stages, by digest: from the manifests of a store, and from the runs in MLflow.

Notable decisions:
- the store is read first; MLflow is asked for what is not there, as of a stage that ran on another machine;
- what could not be asked is kept in `unasked`, so that nobody takes it for absent.
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
    """A finished stage. `inputs` is none where they were not recorded, `manifest` where the store does not have it."""

    stage: str
    digest: str
    created: str
    code: dict[str, Any]
    where: str
    inputs: dict[str, str] | None
    files: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None

    @property
    def left(self) -> set[str]:
        """Digests by which a stage after it may name it: its own, and those of its weights and motion files."""
        return {self.digest, *self.files.values()}


class Records:
    """Of one store and the MLflow that it tracks its runs in."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.unasked: list[str] = []

    def of_digest(self, digest: str) -> Record | None:
        """The stage of that digest."""
        here = next((record for record in self._manifests if record.digest == digest), None)
        return here or self._first(lambda client: find_runs(client, digest))

    def that_left(self, file: str) -> Record | None:
        """The stage that left a file of that SHA-256."""
        here = next((record for record in self._manifests if file in record.files.values()), None)
        return here or self._first(lambda client: search_stage_runs(client, f"tags.`{CHECKPOINT_TAG}` = '{file}'"))

    def run_of(self, record: Record) -> str | None:
        """Id of the stage's run in MLflow."""
        runs = self._ask(lambda client: find_runs(client, record.digest))
        return next((str(run.info.run_id) for run in runs if run.info.status == "FINISHED"), None)

    def made_from(self, record: Record) -> list[Record]:
        """The stages that took a stage, or a file that it left, as an input."""
        left = record.left
        found = {near.digest: near for near in self._manifests if left & {*(near.inputs or {}).values()}}
        named = {record.digest, *(digest for name, digest in record.files.items() if name.endswith(_WEIGHTS))}
        for digest in sorted(named):
            naming = f"tags.`{INPUTS_TAG}` LIKE '%{digest}%'"
            for near in map(_of_run, self._ask(partial(search_stage_runs, wanted=naming))):
                if near.stage != "pipeline":
                    found.setdefault(near.digest, near)
        return list(found.values())

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
        """Of the runs that MLflow finds the newest that finished, or else the newest."""
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
            self.unasked.append(f"MLflow: {self.store} has no database of it, and MLFLOW_TRACKING_URI names none")
            return None
        try:
            return connect(self.store)
        except MlflowException as error:
            self.unasked.append(f"MLflow: {' '.join(str(error).split())[:200]}")
            return None


def of_folder(folder: Path) -> Record:
    """What a finished stage folder says of itself."""
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
