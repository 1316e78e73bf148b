"""What would be removed, each with its size and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion

from data_contracts.store.locks import holder
from data_contracts.store.removal import hidden, last_written, locks, partials, size_of
from tasks.cleaning.inventory import Inventory
from tasks.cleaning.needs import Needs, find_needs
from tasks.mlflow_runs.registry import MODEL_NAME
from tasks.mlflow_runs.store_artifacts import local_folder

RESUME_KIND = "runs"  # of whose partial folders a training goes on; any other stage begins anew


@dataclass(frozen=True)
class Item:
    """One thing to remove. `bytes`: none where they are not of this machine."""

    kind: str
    name: str
    bytes: int | None
    why: str


@dataclass
class Plan:
    """What of a store is not needed, and how much is kept."""

    since: float
    folders: list[Path] = field(default_factory=list)
    partials: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    locks: list[Path] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    models: list[LoggedModel] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    at_work: bool = False

    def items(self) -> Iterator[Item]:
        """All of it, with sizes: each file is asked for its own."""
        for folder in self.folders:
            yield Item(folder.parent.name, folder.name, size_of(folder), "no kept night, version or benchmark needs it")
        for partial in self.partials:
            yield Item("partial folders", _in_store(partial), size_of(partial), "who worked there is dead")
        for left in self.hidden:
            yield Item("partial folders", _in_store(left), size_of(left), "its removal was begun before")
        for version in self.versions:
            yield Item("MLflow versions", f"{MODEL_NAME}/{version.version}", None, "no alias, not among the last")
        for model in self.models:
            name = f"{model.name} {model.model_id}"
            yield Item("MLflow models", name, _bytes_at(model.artifact_location), "its run goes")
        for run in self.runs:
            name = f"{run.info.run_name} {run.info.run_id}"
            yield Item("MLflow runs", name, _bytes_at(str(run.info.artifact_uri)), "of nothing that is kept")
        for lock in self.locks:
            yield Item("lock files", _in_store(lock), size_of(lock), "nobody holds it")


def make_plan(store: Path, has: Inventory, keep_last: int, every_partial: bool) -> Plan:
    """What is not needed.

    Parameters
    ----------
    every_partial
        Also the partial folders from which a training that was killed would go on.

    Raises
    ------
    InputError
        What a needed folder was made from is not known.
    """
    since = find_needs(has, keep_last).since
    dead = [path for path in partials(store) if holder(_lock_of(path)) is None]
    given_up = [path for path in dead if every_partial or _is_given_up(path, since)]
    resumable = [_digest(path) for path in dead if path not in given_up]
    needs = find_needs(has, keep_last, resumable)
    gone = [folder for folder in has.folders if folder not in needs.folders]
    versions = [version for version in has.versions if str(version.version) not in needs.versions]
    runs = [run for run in has.runs if run.info.run_id not in needs.runs]
    ids = {run.info.run_id for run in (*runs, *has.removing)}
    sources = {version.source for version in has.versions if str(version.version) in needs.versions}
    models = [model for model in has.models if model.source_run_id in ids and model.model_uri not in sources]
    return Plan(
        since=since,
        folders=[folder.path for folder in gone],
        partials=given_up,
        hidden=hidden(store),
        locks=[path for path in locks(store) if _is_idle(path, needs)],
        versions=versions,
        models=models,
        runs=[*runs, *has.removing],
        kept=_kept(has, needs),
        at_work=needs.at_work,
    )


def _is_given_up(partial: Path, since: float) -> bool:
    return partial.parent.name != RESUME_KIND or last_written(partial) < since


def _is_idle(lock: Path, needs: Needs) -> bool:
    """A lock file that nobody holds; that of a pipeline is left while its run may be taken up again."""
    return holder(lock) is None and (lock.parent.name != "pipelines" or _digest(lock) not in needs.runs)


def _kept(has: Inventory, needs: Needs) -> dict[str, int]:
    kept = {
        "nights": sum(run.info.run_id in needs.runs for run in has.nights),
        "versions": sum(str(version.version) in needs.versions for version in has.versions),
        "MLflow runs": sum(run.info.run_id in needs.runs for run in has.runs),
    }
    for folder in needs.folders:
        kept[folder.kind] = kept.get(folder.kind, 0) + 1
    return kept


def _bytes_at(uri: str) -> int | None:
    folder = local_folder(uri)
    return None if folder is None else size_of(folder)


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f".{_digest(partial)}.lock")


def _digest(path: Path) -> str:
    return path.name.removeprefix(".").rpartition(".")[0]


def _in_store(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def summary(items: list[Item]) -> dict[str, dict[str, Any]]:
    """Kind -> how many, and their bytes."""
    totals: dict[str, dict[str, Any]] = {}
    for item in items:
        total = totals.setdefault(item.kind, {"count": 0, "bytes": 0})
        total["count"] += 1
        total["bytes"] += item.bytes or 0
    return totals
