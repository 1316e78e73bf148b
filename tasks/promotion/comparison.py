"""Choice of the versions, windows and subjects of a comparison, and reasons to refuse it before any evaluation.

- With a benchmark all versions are evaluated on the benchmark, and a challenger that was trained on its subjects is
  refused. Without a benchmark, challenger and champion are evaluated on the evaluation windows of both, without the
  training subjects of either. On its own windows alone the challenger could win by chance.
- A version that was trained on synthetic motion never replaces one that was trained on real motion. If a
  version trained on synthetic motion is champion, the challenger is compared with the baselines.
- A version that was rolled back is refused until its tag is deleted.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError, some
from data_contracts.parameters import PromoteParameters
from data_contracts.store.folders import resolve
from data_contracts.store.lineage import TrainingData
from data_contracts.store.manifests import read_manifest
from tasks.stage_runs.prefect_runs import task
from tasks.tracking.connection import connect, connect_to_write
from tasks.tracking.names import BENCHMARK_TAG, CHALLENGER, CHAMPION, MODEL_NAME, ROLLBACK_TAG, WINDOWS_TAG
from tasks.tracking.registry import aliased_versions, find_version, read_training_data, registered_model, version_uri


@dataclass(frozen=True)
class EvaluationData:
    """Windows that both versions are evaluated on, and the subjects in them whose windows do not count."""

    windows: Path
    excluded: frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """Versions that are compared, as URIs with numbers, and the data to evaluate these versions on.

    `champion` currently has the alias. `compared_champion` is None for a comparison with the baselines. `notes` are
    facts for the reader of the decision. `refusal` is the reason why the challenger is not compared, or None.
    """

    challenger: str
    champion: str | None
    compared_champion: str | None
    data: tuple[EvaluationData, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str | None = None


class _Refused(Exception):
    """The challenger is not compared; the message states the reason."""


@dataclass
class _Sides:
    """Challenger, the champion for the comparison or None, and the training data of both."""

    challenger: ModelVersion
    champion: ModelVersion | None
    data: TrainingData
    champion_data: TrainingData = field(default_factory=TrainingData)
    notes: list[str] = field(default_factory=list)

    @property
    def subjects(self) -> frozenset[str]:
        """Training subjects of either version."""
        return frozenset((*self.data.subjects, *self.champion_data.subjects))


@task(retried=True)
def find_comparison(store: Path, version: int | None, split: str, parameters: PromoteParameters) -> Comparison:
    """Return the comparison of `version` (default: the version with the alias challenger) with the champion.

    Raises
    ------
    InputError
        The challenger does not exist, or the store does not have the windows of the evaluation.
    """
    client = connect(store)
    versions = aliased_versions(client)
    if version is None and CHALLENGER not in versions:
        raise InputError(f"no model version is {MODEL_NAME}@{CHALLENGER}: run a pipeline first")
    challenger = versions[CHALLENGER] if version is None else find_version(client, f"models:/{MODEL_NAME}/{version}")
    champion = versions.get(CHAMPION)
    champion_uri = version_uri(champion) if champion else None
    if champion_uri == version_uri(challenger):
        refusal = "the challenger is the champion already"
        return Comparison(champion_uri, champion_uri, champion_uri, refusal=refusal)
    sides = _Sides(challenger, champion, read_training_data(store, challenger))
    if champion is not None:
        sides.champion_data = read_training_data(store, champion)
        if sides.champion_data.synthetic and not sides.data.synthetic:
            note = "was trained on synthetic motion, so the challenger is compared with the baselines"
            sides.notes.append(f"{champion_uri} {note}")
            sides.champion, sides.champion_data = None, TrainingData()
    data, reason = tuple[EvaluationData, ...](), None
    try:
        _must_be_allowed(sides, parameters)
        if benchmark := parameters.benchmark or named_benchmark(client):
            data = (_on_benchmark(store, benchmark, sides, split),)
        else:
            data = _on_own_windows(store, sides, split)
    except _Refused as refused:
        reason = str(refused)
    compared = version_uri(sides.champion) if sides.champion else None
    return Comparison(version_uri(challenger), champion_uri, compared, data, tuple(sides.notes), reason)


def _must_be_allowed(sides: _Sides, parameters: PromoteParameters) -> None:
    if sides.champion and sides.data.synthetic and not sides.champion_data.synthetic:
        raise _Refused(
            "the challenger was trained on synthetic motion and the champion on real motion; no comparison is made"
        )
    uri = version_uri(sides.challenger)
    record = json.loads(sides.challenger.tags.get(ROLLBACK_TAG, "{}"))
    if str(record.get("from")) == str(sides.challenger.version):
        raise _Refused(
            f"{record['who']} rolled the challenger back ({record['reason']}); delete the tag {ROLLBACK_TAG} of {uri}"
            " to allow a new comparison"
        )
    if unknown := [*sides.data.unknown, *sides.champion_data.unknown]:
        reason = f"the training subjects are not fully known: {some(unknown)}"
        if not parameters.allow_unknown_people:
            raise _Refused(
                f"{reason}; pass --set promote.allow_unknown_people=true if no test subject can be among them"
            )
        sides.notes.append(reason)


def _on_benchmark(store: Path, benchmark: str, sides: _Sides, split: str) -> EvaluationData:
    folder = resolve(store, "windows", benchmark)
    tested = _test_subjects(folder, split)
    if not tested:
        raise InputError(
            f"benchmark {folder}: has no windows in split {split} (evaluate.split); set other windows with `uplift"
            " benchmark set`"
        )
    if known := sorted(tested.intersection(sides.data.subjects)):
        raise _Refused(
            f"{len(known)} of the {len(tested)} subjects in split {split} of the benchmark {folder} are training or"
            f" validation subjects of the challenger: {some(known)}; train without these subjects, or set other windows"
            " with `uplift benchmark set`"
        )
    return _evaluation_data(folder, tested, sides)


def _on_own_windows(store: Path, sides: _Sides, split: str) -> tuple[EvaluationData, ...]:
    """Return the evaluation windows of both versions, each folder once."""
    data: dict[str, EvaluationData] = {}
    seen: list[str] = []
    for version in filter(None, (sides.challenger, sides.champion)):
        digest = version.tags.get(WINDOWS_TAG, "")
        try:
            folder = resolve(store, "windows", digest)
        except InputError:
            if version is sides.challenger:
                raise
            sides.notes.append(
                f"{version_uri(version)} was evaluated on {digest}, which {store} does not have any more"
            )
            continue
        seen.append(folder.name)
        tested = _test_subjects(folder, split)
        if digest not in data and tested - sides.subjects:
            data[digest] = _evaluation_data(folder, tested, sides)
    if not data:
        raise _Refused(
            f"every subject of split {split} of the windows {', '.join(seen)} is a training or"
            " validation subject of a compared version; name windows of other subjects with `uplift benchmark set`"
        )
    return tuple(data.values())


def _evaluation_data(folder: Path, tested: frozenset[str], sides: _Sides) -> EvaluationData:
    excluded = tested & sides.subjects
    if excluded == tested:
        raise _Refused(
            f"every subject of the benchmark {folder} is a training or validation subject of the champion; set other"
            " windows with `uplift benchmark set`, or for this comparison with --set promote.benchmark=WINDOWS"
        )
    if excluded:
        names = some(sorted(excluded))
        sides.notes.append(f"{len(excluded)} training subjects are excluded from {folder.name}: {names}")
    return EvaluationData(folder, excluded)


def _test_subjects(folder: Path, split: str) -> frozenset[str]:
    return frozenset(read_manifest(folder)["statistics"]["groups"].get(split, []))


def name_benchmark(store: Path, windows: str, split: str) -> str:
    """Make windows (folder or digest) the benchmark, return their digest; an empty `split` raises an InputError."""
    folder = resolve(store, "windows", windows)
    manifest = read_manifest(folder)
    if not manifest["counts"]["windows"].get(split):
        raise InputError(
            f"{folder}: has no windows in split {split} (evaluate.split); pass windows with this split, or another"
            " --set evaluate.split"
        )
    client = connect_to_write(store)
    if registered_model(client) is None:
        client.create_registered_model(MODEL_NAME)
    client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, str(manifest["digest"]))
    return str(manifest["digest"])


def named_benchmark(client: MlflowClient) -> str | None:
    """Return the digest of the benchmark windows, or None without a benchmark."""
    model = registered_model(client)
    return dict(model.tags).get(BENCHMARK_TAG) if model else None


def remove_benchmark(store: Path) -> None:
    """Remove the benchmark, so that versions are compared on their own evaluation windows."""
    client = connect_to_write(store)
    if named_benchmark(client):
        client.delete_registered_model_tag(MODEL_NAME, BENCHMARK_TAG)
