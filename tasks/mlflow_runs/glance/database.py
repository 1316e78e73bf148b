"""A glance at MLflow's SQLite file, by the tables in which MLflow 3 has runs, tags, metrics and aliases."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from tasks.mlflow_runs.names import EXPERIMENT, MODEL_NAME
from tasks.mlflow_runs.seen import TIMEOUT_SECONDS, SeenRun


class Database:
    """As `tasks.mlflow_runs.glance.looking.Glance` says.

    Raises
    ------
    InputError
        There is no such file.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise InputError(f"MLflow: {file} is not there")
        self._file = file

    def runs(self, wanted: Mapping[str, str], limit: int) -> list[SeenRun]:
        """Active runs of the experiment."""
        status = wanted.get("status")
        tags = {key: value for key, value in wanted.items() if key != "status"}
        joined = " JOIN tags t{0} ON t{0}.run_uuid = r.run_uuid AND t{0}.key = ? AND t{0}.value = ?"
        found = self._ask(
            "SELECT r.run_uuid, r.name, r.status, r.start_time, r.end_time FROM runs r"
            " JOIN experiments e ON e.experiment_id = r.experiment_id AND e.name = ?"
            f"{''.join(joined.format(number) for number in range(len(tags)))}"
            f" WHERE r.lifecycle_stage = 'active'{' AND r.status = ?' if status else ''}"
            " ORDER BY r.start_time DESC LIMIT ?",
            [EXPERIMENT, *(word for tag in tags.items() for word in tag), *([status] if status else []), limit],
        )
        return [self._run(*row) for row in found]

    def aliases(self) -> dict[str, str]:
        """Alias -> number of the version that bears it."""
        rows = self._ask("SELECT alias, version FROM registered_model_aliases WHERE name = ?", [MODEL_NAME])
        return {alias: str(version) for alias, version in rows}

    def version_tags(self, version: str) -> dict[str, str]:
        """Tags of a version."""
        query = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
        return dict(self._ask(query, [MODEL_NAME, int(version)]))

    def model_tags(self) -> dict[str, str]:
        """Tags of the registered model."""
        return dict(self._ask("SELECT key, value FROM registered_model_tags WHERE name = ?", [MODEL_NAME]))

    def _run(self, run_id: str, name: str | None, status: str, began: int, ended: int | None) -> SeenRun:
        tags, metrics = (
            dict(self._ask(f"SELECT key, value FROM {table} WHERE run_uuid = ?", [run_id]))
            for table in ("tags", "latest_metrics")
        )
        return SeenRun(run_id, name or "", status, began / 1000, ended / 1000 if ended else None, tags, metrics)

    def _ask(self, query: str, values: Sequence[Any]) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", TIMEOUT_SECONDS, uri=True)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"MLflow: {self._file} could not be asked ({error})") from error
