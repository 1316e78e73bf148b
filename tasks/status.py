"""How a store stands: its last nights, the versions that bear an alias, what is at work, and what the disk holds.

It answers in a second or two however many runs there are: nothing here imports PyTorch or MLflow. What could not be
asked is said, in `unasked`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from shutil import disk_usage
from time import time
from typing import Any, TypeVar

from data_contracts.errors import InputError
from data_contracts.report import METRICS
from data_contracts.run_names import PIPELINE
from data_contracts.store.digests import KINDS
from data_contracts.store.locks import holder
from data_contracts.store.removal import locks, size_of
from tasks.mlflow_runs.glance.looking import Glance, look, pipelines_of, running_of
from tasks.mlflow_runs.names import (
    BENCHMARK_TAG,
    CHALLENGER,
    CHAMPION,
    DIGEST_TAG,
    ID_FILE,
    PREVIOUS,
    STAGE_TAG,
    VERSION_TAG,
    owner_lock,
    store_id,
)
from tasks.mlflow_runs.seen import SeenRun

T = TypeVar("T", dict[str, str], list[SeenRun])
SCORES = tuple(f"test/{name}" for name in METRICS)


@dataclass(frozen=True)
class Night:
    """A pipeline's run. `seconds` so far, where it goes on; `promotion`: what came of its version, where known."""

    began: float
    name: str
    state: str
    seconds: float
    mpjpe_mm: float | None
    version: str | None
    promotion: str | None
    run_id: str


@dataclass(frozen=True)
class AtWork:
    """A run that has not ended. `holder`: the process that holds its lock; none: nobody does, its process is dead."""

    stage: str
    name: str
    seconds: float
    run_id: str
    holder: str | None


@dataclass
class Status:
    """Of a store; `versions`: alias -> its number and scores; `locks`: lock file -> who holds it."""

    store: str
    nights: list[Night] = field(default_factory=list)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    benchmark: str | None = None
    running: list[AtWork] = field(default_factory=list)
    locks: dict[str, str] = field(default_factory=dict)
    disk: dict[str, dict[str, int]] = field(default_factory=dict)
    free_bytes: int = 0
    unasked: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def read_status(store: Path, nights: int = 5) -> Status:
    """How it stands now.

    Raises
    ------
    InputError
        There is no such store.
    """
    if not store.is_dir():
        raise InputError(f"{store}: no such store")
    status = Status(str(store), free_bytes=disk_usage(store).free, disk=_disk(store))
    status.locks = {str(path.relative_to(store)): who for path in _every_lock(store) if (who := holder(path))}
    try:
        glance = look(store)
    except InputError as error:
        status.unasked.append(str(error))
        return status
    if (store / ID_FILE).is_file():
        name = store_id(store)
        runs = _asked(status, [], partial(pipelines_of, glance, name, nights))
        status.nights = [_night(status, glance, run) for run in runs]
        status.running = [_at_work(store, run) for run in _asked(status, [], partial(running_of, glance, name))]
    aliases = _asked(status, {}, glance.aliases)
    order = [CHAMPION, CHALLENGER, PREVIOUS]
    for alias in sorted(aliases, key=lambda alias: order.index(alias) if alias in order else len(order)):
        tags = _asked(status, {}, partial(glance.version_tags, aliases[alias]))
        scores = {key.removeprefix("test/"): float(tags[key]) for key in SCORES if key in tags}
        status.versions[alias] = {"version": aliases[alias], "scores": scores, "promotion": _promotion(tags)}
    status.benchmark = _asked(status, {}, glance.model_tags).get(BENCHMARK_TAG)
    return status


def _asked(status: Status, otherwise: T, question: Callable[[], T]) -> T:
    try:
        return question()
    except InputError as error:
        if str(error) not in status.unasked:
            status.unasked.append(str(error))
        return otherwise


def _night(status: Status, glance: Glance, run: SeenRun) -> Night:
    version = run.tags.get(VERSION_TAG)
    tags = _asked(status, {}, partial(glance.version_tags, version)) if version else {}
    seconds = (run.ended or time()) - run.began
    return Night(
        began=run.began,
        name=run.name,
        state=run.status,
        seconds=round(seconds, 1),
        mpjpe_mm=run.metrics.get("test/mpjpe_mm"),
        version=version,
        promotion=_promotion(tags),
        run_id=run.run_id,
    )


def _promotion(tags: dict[str, str]) -> str | None:
    if "promotion.promoted" not in tags:
        return None
    said = "promoted" if tags["promotion.promoted"] == "True" else "not promoted"
    return f"{said}: {tags['promotion.reason']}" if tags.get("promotion.reason") else said


def _at_work(store: Path, run: SeenRun) -> AtWork:
    stage, digest = run.tags.get(STAGE_TAG, ""), run.tags.get(DIGEST_TAG, "")
    lock = owner_lock(store, run.run_id) if stage == PIPELINE else store / KINDS.get(stage, stage) / f".{digest}.lock"
    return AtWork(stage, run.name, round(time() - run.began, 1), run.run_id, holder(lock))


def _every_lock(store: Path) -> list[Path]:
    """Also those of what happens once in a store: a promotion, a removal."""
    return [*locks(store), *sorted(store.glob(".*.lock"))]


def _disk(store: Path) -> dict[str, dict[str, int]]:
    """Folders and bytes by kind: stages, MLflow's artifacts and database, what was left unfinished."""
    disk: dict[str, dict[str, int]] = {}

    def add(kind: str, path: Path) -> None:
        entry = disk.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += size_of(path)

    for place in sorted(store.iterdir()):
        if not place.is_dir():
            add("mlflow.db" if place.name.startswith("mlflow.db") else "other", place)
        elif place.name not in KINDS.values():
            add(place.name, place)
        else:
            for path in place.iterdir():
                if path.is_dir():
                    add("unfinished" if path.name.startswith(".") else place.name, path)  # locks are empty
    return disk
