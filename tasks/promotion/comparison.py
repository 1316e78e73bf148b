"""Who is compared with whom on which windows, and what forbids it before anything is evaluated.

Notable decisions:
- a benchmark is where all versions meet; a challenger that learned from its people is refused. Where none is named, the
  two meet on the windows that each was scored on itself, less the people that either learned from: windows of the
  challenger alone could be such, by accident too, that it wins;
- synthetic motion says nothing of people: such a version never takes the place of one that learned from real motion,
  and does not stand in the way of one: it is displaced as if nobody were champion;
- what was learned from has to be known. `allow_unknown_people` is for weights that others trained, as MotionBERT's;
- what somebody went back from does not come again by itself.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError, some
from data_contracts.parameters import PromoteParameters
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest
from tasks.promotion.benchmark import named_benchmark
from tasks.promotion.training_subjects import Learned, learned_from
from tasks.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    MODEL_NAME,
    WINDOWS_TAG,
    aliased_versions,
    find_version,
    version_uri,
)
from tasks.tracking.runs import connect

ROLLBACK_TAG = "rollback."  # begins the tags of versions that somebody went back from, or to


@dataclass(frozen=True)
class Ground:
    """Windows to meet on, and the people in them whose frames do not count."""

    windows: Path
    left_out: frozenset[str]


@dataclass(frozen=True)
class Contenders:
    """Who is compared on what; versions by URIs that name their numbers.

    champion: who bears the alias now. rival: the champion, if it is to be beaten; none: the baselines are. notes: what
    a reader of the decision should know. refusal: why the challenger is not compared at all.
    """

    challenger: str
    champion: str | None
    rival: str | None
    grounds: tuple[Ground, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str | None = None


class _Refused(Exception):
    """The challenger is not compared, and why."""


@dataclass
class _Sides:
    """What challenger and rival learned from."""

    challenger: ModelVersion
    learned: Learned
    rival: ModelVersion | None
    rival_learned: Learned | None
    notes: list[str] = field(default_factory=list)

    @property
    def versions(self) -> list[ModelVersion]:
        return [self.challenger, *([self.rival] if self.rival else [])]

    @property
    def people(self) -> frozenset[str]:
        """Whom either learned from."""
        return self.learned.people | (self.rival_learned.people if self.rival_learned else frozenset())


def choose(store: Path, version: int | None, split: str, parameters: PromoteParameters) -> Contenders:
    """The challenger (that version, or who bears the alias), the champion, and where they meet.

    Raises
    ------
    InputError
        There is no such challenger, or the windows to meet on are gone.
    MlflowException
        The registry could not be asked.
    """
    client = connect(store)
    versions = aliased_versions(client)
    challenger = _challenger(client, versions, version)
    champion = versions.get(CHAMPION)
    champion_uri = version_uri(champion) if champion else None
    if champion_uri == version_uri(challenger):
        already = "the challenger is the champion already"
        return Contenders(champion_uri, champion_uri, champion_uri, refusal=already)
    sides = _Sides(challenger, learned_from(store, challenger), champion, None)
    if champion is not None:
        sides.rival_learned = learned_from(store, champion)
        if sides.rival_learned.synthetic and not sides.learned.synthetic:
            sides.notes.append(f"{champion_uri} learned from synthetic motion: it does not count, the baselines do")
            sides.rival = sides.rival_learned = None
    grounds: tuple[Ground, ...] = ()
    refusal: str | None = None
    try:
        _must_be_allowed(sides, parameters)
        benchmark = parameters.benchmark or named_benchmark(client)
        grounds = (
            (_on_benchmark(store, benchmark, sides, split),) if benchmark else _on_own_windows(store, sides, split)
        )
    except _Refused as refused:
        refusal = str(refused)
    rival_uri = version_uri(sides.rival) if sides.rival else None
    return Contenders(version_uri(challenger), champion_uri, rival_uri, grounds, tuple(sides.notes), refusal)


def _challenger(client: MlflowClient, versions: dict[str, ModelVersion], number: int | None) -> ModelVersion:
    if number is not None:
        return find_version(client, f"models:/{MODEL_NAME}/{number}")
    challenger = versions.get(CHALLENGER)
    if challenger is None:
        raise InputError(f"no model version is {MODEL_NAME}@{CHALLENGER}: run a pipeline first")
    return challenger


def _must_be_allowed(sides: _Sides, parameters: PromoteParameters) -> None:
    if sides.learned.synthetic and sides.rival_learned and not sides.rival_learned.synthetic:
        raise _Refused("it learned from synthetic motion, and the champion from real motion: it does not compete")
    uri = version_uri(sides.challenger)
    for key, value in sorted(sides.challenger.tags.items(), reverse=True):
        if key.startswith(ROLLBACK_TAG):
            said = json.loads(value)
            if str(said["from"]) == str(sides.challenger.version):
                raise _Refused(
                    f"{said['who']} went back from it ({said['reason']}); delete the tag {key} of {uri} to let it"
                    " compete again"
                )
            break
    unknown = [*sides.learned.unknown, *(sides.rival_learned.unknown if sides.rival_learned else ())]
    if unknown:
        what = f"whom they learned from is not fully known: {some(unknown)}"
        if not parameters.allow_unknown_people:
            raise _Refused(f"{what}; pass --set promote.allow_unknown_people=true if nobody tested can be among them")
        sides.notes.append(what)


def _on_benchmark(store: Path, benchmark: str, sides: _Sides, split: str) -> Ground:
    folder = resolve(store, "windows", benchmark)
    tested = _tested(read_manifest(folder), split)
    if not tested:
        raise InputError(f"benchmark {folder}: has no windows in split {split}")
    if known := sorted(tested & sides.learned.people):
        raise _Refused(f"it learned from {len(known)} of the {len(tested)} people of the benchmark: {some(known)}")
    return _ground(folder, tested, sides)


def _on_own_windows(store: Path, sides: _Sides, split: str) -> tuple[Ground, ...]:
    """The windows that each was scored on, once each."""
    grounds: dict[str, Ground] = {}
    for version in sides.versions:
        digest = version.tags.get(WINDOWS_TAG, "")
        try:
            folder = resolve(store, "windows", digest)
        except InputError:
            if version is sides.challenger:
                raise
            sides.notes.append(f"{version_uri(version)} was scored on {digest}, which are not in {store} any more")
            continue
        tested = _tested(read_manifest(folder), split)
        if digest not in grounds and tested - sides.people:
            grounds[digest] = _ground(folder, tested, sides)
    if not grounds:
        raise _Refused(
            f"of the people in their {split} splits one or the other learned from everybody, or chose its epoch by them"
        )
    return tuple(grounds.values())


def _ground(folder: Path, tested: frozenset[str], sides: _Sides) -> Ground:
    left_out = tested & sides.people
    if left_out == tested:
        raise _Refused("the champion learned from everybody in the benchmark")
    if left_out:
        sides.notes.append(
            f"{len(left_out)} people of {folder.name} are left out, learned from: {some(sorted(left_out))}"
        )
    return Ground(folder, left_out)


def _tested(manifest: dict[str, Any], split: str) -> frozenset[str]:
    groups = manifest["statistics"]["groups"]
    return frozenset(groups.get(split, []))
