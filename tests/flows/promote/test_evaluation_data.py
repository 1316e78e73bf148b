"""Promotion compares versions on data that neither was trained on, and refuses a comparison without such data."""

from pathlib import Path

import pytest

from data_contracts.parameters import ConvertParameters
from data_contracts.store.manifests import read_manifest
from tasks.promotion.comparison import name_benchmark
from tasks.tracking.registry import TRAINING_DATA_FILE, read_training_data
from tasks.tracking.runs import connect
from tests.flows.promote.conftest import champion
from tests.flows.typed import convert


@pytest.fixture
def tested(windows) -> list[str]:
    """Return the subjects of the test split."""
    return read_manifest(windows)["statistics"]["groups"]["test"]


@pytest.fixture(scope="module")
def converted(outcome, parameters, windows, store) -> Path:
    groups = read_manifest(windows)["statistics"]["groups"]
    split = {"split_by": "groups", "val_groups": groups["val"], "test_groups": groups["test"] + groups["train"][:2]}
    asked = ConvertParameters.model_validate(parameters.convert.model_dump() | split)
    return convert(outcome["stages"]["ingest"]["folder"], asked, store=str(store)).path


@pytest.fixture
def others(converted, promoted, empty_store) -> Path:
    """Return windows of the same clips, whose test split also has two training subjects of the pipeline."""
    folder = empty_store / "windows" / converted.name
    folder.symlink_to(converted)
    return folder


def test_versions_are_compared_on_both_windows_without_their_training_subjects(
    challenge, promoted, crowned, trained, untrained, windows, others, tested, empty_store
):
    *same, known, unknown = read_manifest(others)["statistics"]["groups"]["test"]
    crowned(challenge(untrained[0], people=(known,), scored_on=others))
    challenge(trained, people=("somebody",))
    decision = promoted()
    assert decision["windows"] == {windows.name: [], others.name: [known]}
    assert set(decision["differences"]["per_group_mm"]) == {*same, unknown}
    assert f"1 training subjects are excluded from {others.name}: {known}" in decision["notes"]
    challenge(untrained[1], people=(*same, known, unknown))
    assert "is a training or validation subject of a compared version" in promoted()["reason"]


def test_a_version_trained_on_benchmark_subjects_is_refused(
    challenge, promoted, crowned, trained, untrained, windows, others, tested, empty_store
):
    name_benchmark(empty_store, windows.name, "test")
    crowned(challenge(untrained[0], scored_on=others))
    challenge(trained, people=(tested[0], "somebody"), scored_on=others)
    decision = promoted()
    assert not decision["promoted"]
    assert (
        f"1 of the {len(tested)} subjects in split test of the benchmark {windows} are training or validation subjects"
        f" of the challenger: {tested[0]};" in decision["reason"]
    )


def test_all_versions_are_compared_on_the_benchmark(
    challenge, promoted, crowned, trained, untrained, windows, others, empty_store
):
    name_benchmark(empty_store, windows.name, "test")
    crowned(challenge(untrained[0], scored_on=others))
    challenge(trained, people=("somebody",), scored_on=others)
    decision = promoted()
    assert decision["promoted"]
    assert list(decision["windows"]) == [windows.name]


def test_synthetic_models_do_not_compete_with_real_ones_and_do_not_block_them(
    challenge, promoted, crowned, trained, untrained, empty_store
):
    real = crowned(challenge(untrained[0]))
    synthetic = challenge(trained, synthetic=True)
    refused = promoted()
    assert "synthetic motion and the champion on real motion" in refused["reason"]
    assert (champion(empty_store), refused["windows"]) == (real, {})
    crowned(synthetic)
    challenge(untrained[1])
    beaten = promoted()
    assert any("synthetic motion, so the challenger is compared with the baselines" in note for note in beaten["notes"])
    assert all(" than baseline " in check["name"] for check in beaten["checks"])
    assert champion(empty_store) == synthetic


def test_unknown_training_subjects_are_not_treated_as_none(challenge, promoted, trained, empty_store):
    challenge(trained, unknown=["weights 0123: no finished stage of that digest"])
    decision = promoted()
    assert "the training subjects are not fully known: weights 0123" in decision["reason"]
    assert promoted(allow_unknown_people=True)["windows"]


def test_a_pipeline_records_the_training_subjects_of_its_version(outcome, store, windows):
    version = connect(store).get_model_version("pose-uplift", str(outcome["model"]["version"]))
    groups = read_manifest(windows)["statistics"]["groups"]
    training = read_training_data(store, version)
    assert set(training.subjects) == {*groups["train"], *groups["val"]}
    assert training.synthetic
    assert training.sources
    assert not training.unknown
    assert any(file.path == TRAINING_DATA_FILE for file in connect(store).list_artifacts(version.run_id))
