"""Conversion writes the same bytes with any number of workers, on a Dask cluster, and after the death of a worker."""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from data_contracts.clips import CLIP_SCHEMA, CLIPS_FILE, Clip, to_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import (
    ConvertParameters,
    IngestParameters,
    PipelineParameters,
    ShortClips,
    SplitBy,
    Workers,
)
from data_contracts.skeleton import PELVIS
from data_contracts.splits import SPLITS
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from data_contracts.store.manifests import read_manifest
from data_contracts.windows import SCALARS, split_files
from flows.stages import run_stage
from tasks.convert.cameras import cut_windows
from tasks.convert.convert import write_windows
from tasks.stage import Context
from tasks.synthetic.motion import generate
from tests.flows.artifacts import artifacts_of, shown_as
from tests.flows.dying_workers import dask_cluster, killing, pool_pids
from tests.flows.typed import convert, pretrain

BATCHES, CLIPS_A_BATCH = 8, 3
PARAMETERS = ConvertParameters(window=27, stride=9, views=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Return a clip store of 8 batches: six subjects, one of three clips at 30 frames/s, one shorter than a window."""
    motions, rows = generate(seed=9, people=6, seconds=1.5)
    store = tmp_path_factory.mktemp("clips")
    identity = StageKey("clips", "ingest", IngestParameters(), {"source": "made by a test"})
    with open_stage(store, identity) as stage, parquet.ParquetWriter(stage.folder / CLIPS_FILE, CLIP_SCHEMA) as writer:
        kept = []
        for batch in range(BATCHES):
            made = []
            for place in range(CLIPS_A_BATCH):
                index = 5 * (batch * CLIPS_A_BATCH + place) % len(motions)
                poses = motions[index].transpose(1, 0, 2).astype(np.float32)
                poses = poses[: 20 if place == 2 else None]
                row = rows[index]
                name, clip_id = row["fname"], batch * CLIPS_A_BATCH + place
                made.append(Clip(clip_id, name, row["subject"], row["action"], 30.0 if place == 1 else 60.0, poses))
            writer.write_batch(to_arrow(made, [{"stature": 1.7, "speed_max": 1.0}] * len(made)))
            kept += made
        groups = pd.Series([clip.group for clip in kept]).value_counts().sort_index()
        stage.counts |= {"clips": len(kept), "frames": sum(len(clip.poses) for clip in kept)}
        stage.statistics |= {"groups": groups.to_dict()}
    return stage.folder


@pytest.fixture(scope="module")
def tracking_uri(mlflow_database, tmp_path_factory) -> str:
    """Return one tracking database for the stores of all tests."""
    return f"sqlite:///{shutil.copy(mlflow_database, tmp_path_factory.mktemp('mlflow'))}"


@pytest.fixture(autouse=True)
def _one_tracking_database(tracking_uri, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)


@pytest.fixture(scope="module")
def alone(clips, tracking_uri, tmp_path_factory):
    """Return the result of one worker in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        return convert(str(clips), PARAMETERS, Workers(processes=1), str(tmp_path_factory.mktemp("alone")))


def files_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table_of(folder: Path, columns: list[str]) -> pd.DataFrame:
    files = [file for split in ("train", "val", "test") for file in split_files(folder, split)]
    return pd.concat([parquet.read_table(file, columns=columns, partitioning=None).to_pandas() for file in files])


def test_counts_by_split_and_group_are_those_of_the_files(alone, clips):
    written = table_of(alone.path, list(SCALARS))
    assert alone.counts["windows"] == written["split"].value_counts().to_dict()
    assert alone.counts["clips"] == written.groupby("split")["clip_id"].nunique().to_dict()
    assert sum(alone.counts["clips"].values()) == read_manifest(clips)["counts"]["clips"]
    assert alone.counts["frames"] == read_manifest(clips)["counts"]["frames"]
    for split, groups in alone.statistics["groups"].items():
        assert set(groups) == set(written.loc[written["split"] == split, "group"])
    for group, counts in alone.statistics["per_group"].items():
        of_group = written[written["group"] == group]
        assert counts["windows"] == len(of_group)
        assert counts["clips"] == of_group["clip_id"].nunique()
        assert {counts["split"]} == set(of_group["split"])


def write_all(clips: Path, folder: Path, parameters: ConvertParameters) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    return pd.concat([write_windows(clips, folder, batch, parameters) for batch in range(BATCHES)])


def test_dropped_short_clips_are_counted(clips, tmp_path):
    counts = write_all(clips, tmp_path, PARAMETERS.model_copy(update={"short_clips": ShortClips.DROP})).sum()
    assert counts["too_short"] == BATCHES
    assert counts["clips"] == BATCHES * (CLIPS_A_BATCH - 1)
    assert counts["windows"] == len(table_of(tmp_path, ["start"]))


def test_training_windows_can_be_stored_in_fewer_views_than_others(clips, alone, tmp_path):
    write_all(clips, tmp_path, PARAMETERS.model_copy(update={"train_views": 1}))
    one, both = table_of(tmp_path, list(SCALARS)), table_of(alone.path, list(SCALARS))
    kept = both[(both["split"] != "train") | (both["camera"] == 0)]
    pd.testing.assert_frame_equal(one.reset_index(drop=True), kept.reset_index(drop=True))


def test_windows_contain_the_angles_of_their_camera(alone):
    written = table_of(alone.path, list(SCALARS))
    views = written.groupby(["clip_id", "camera"])
    turned = views["yaw_deg"].nunique()[views.size() > 2]
    assert (turned > 1).all()  # each window has the axes of a camera that is turned to it
    assert written["pitch_deg"].abs().median() <= PARAMETERS.max_pitch_deg
    assert set(written["projection"]) == {"perspective"}


def test_without_a_test_share_all_clips_are_in_train_or_val(clips, empty_store):
    result = convert(str(clips), PARAMETERS.model_copy(update={"test_share": 0.0}), store=str(empty_store))
    assert result.counts["windows"]["test"] == result.counts["clips"]["test"] == 0
    assert result.counts["windows"]["train"] > result.counts["windows"]["val"] > 0
    assert result.statistics["groups"]["test"] == []
    assert sum(result.counts["clips"].values()) == BATCHES * CLIPS_A_BATCH
    check_folder(result.path)


def test_windows_with_a_test_split_only_are_valid_and_cannot_be_trained_on(clips, empty_store):
    people = list(read_manifest(clips)["statistics"]["groups"])
    by_name = {"split_by": SplitBy.GROUPS, "test_groups": tuple(people)}
    result = convert(str(clips), PARAMETERS.model_copy(update=by_name), store=str(empty_store))
    assert result.statistics["groups"] == {"train": [], "val": [], "test": sorted(people)}
    assert result.counts["windows"] | {"test": 0} == {"train": 0, "val": 0, "test": 0}
    check_folder(result.path)
    with pytest.raises(InputError, match=r"split train and val is empty; .*`uplift evaluate` accepts these windows"):
        pretrain(result.folder, store=str(empty_store))
    assert not list((empty_store / "runs").glob("*"))  # no run began


def test_an_unknown_group_is_refused_before_any_worker_starts(clips, empty_store, monkeypatch):
    monkeypatch.setattr("tasks.convert.batches._write_batches", lambda *_: pytest.fail("a worker was started"))
    by_name = {"split_by": SplitBy.GROUPS, "test_groups": ("nobody",)}
    with pytest.raises(InputError, match=r"convert\.test_groups: group nobody is not in the clips"):
        convert(str(clips), PARAMETERS.model_copy(update=by_name), store=str(empty_store))


def test_a_split_of_too_short_clips_is_refused_with_a_remedy(clips, empty_store):
    long = PARAMETERS.model_copy(update={"window": 200, "short_clips": ShortClips.DROP})
    with pytest.raises(InputError, match=r"no window in split test.*convert\.window=200.*short_clips=pad"):
        convert(str(clips), long, store=str(empty_store))


def test_a_batch_done_twice_leaves_one_part_with_the_same_bytes(clips, alone, tmp_path):
    for _ in range(2):
        write_all(clips, tmp_path, PARAMETERS)
    assert files_of(tmp_path) == files_of(alone.path)


def test_a_failed_batch_writes_no_part(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.convert.convert.BYTES_AT_ONCE", 1 << 20)  # the first windows are on disk when it fails

    def broken(points, camera, starts, out):
        axes = cut_windows(points, camera, starts, out)
        out["pose_3d"][:, :, PELVIS] = points[-1, PELVIS, 0] > 0
        return axes

    monkeypatch.setattr("tasks.convert.convert.cut_windows", broken)
    with pytest.raises(InputError, match=r"clip \d+, window .*root_max .* is 1, expected exactly 0"):
        write_all(clips, tmp_path, PARAMETERS)
    assert files_of(tmp_path).keys() <= {f"{split}/part-{batch:05d}.parquet" for split in SPLITS for batch in range(8)}


def test_row_groups_have_the_configured_size(clips, tmp_path, monkeypatch):
    windows = write_all(clips, tmp_path / "one", PARAMETERS)["windows"].sum()
    monkeypatch.setattr("tasks.convert.convert.BYTES_AT_ONCE", 1 << 20)
    monkeypatch.setattr("tasks.convert.convert.ROW_GROUP_BYTES", 1 << 18)
    write_all(clips, tmp_path / "other", PARAMETERS)
    sizes = [
        parquet.read_metadata(file).row_group(group).num_rows
        for file in split_files(tmp_path / "other", "train")
        for group in range(parquet.read_metadata(file).num_row_groups)
    ]
    assert max(sizes) == (1 << 18) // (27 * (17 * 6 + 3) * 4 + 4)
    one, other = (table_of(tmp_path / name, list(SCALARS)) for name in ("one", "other"))
    assert len(one) == windows
    pd.testing.assert_frame_equal(one, other)


def test_resampled_windows_have_the_rate_and_duration(clips, tmp_path):
    counts = write_all(clips, tmp_path, PARAMETERS.model_copy(update={"fps": 20.0}))
    written = table_of(tmp_path, ["clip_id", "fps", "start", "camera"])
    assert set(written["fps"]) == {20.0}
    frames = parquet.read_table(clips / CLIPS_FILE, columns=["clip_id", "frames", "fps"]).to_pandas()
    expected = ((frames["frames"] - 1) / frames["fps"] * 20 + 1e-6).astype(int) + 1
    assert counts["frames"].sum() == expected.sum()
    last = written.groupby("clip_id")["start"].max()
    np.testing.assert_array_equal(last, np.maximum(expected - PARAMETERS.window, 0))


def test_progress_and_counts_show_in_prefect(alone):
    finished = [description for description, percent in shown_as("convert-progress") if percent == "100"]
    assert any(f"{BATCHES} of {BATCHES} batches" in str(description) for description in finished)
    assert any("all " in table for table in artifacts_of("convert-groups"))


def test_a_pool_whose_process_is_killed_writes_the_same_bytes(clips, alone, tmp_path):
    with killing(tmp_path, pool_pids) as killed:
        result = convert(str(clips), PARAMETERS, Workers(processes=2), str(tmp_path))
    assert len(killed) == 1
    assert files_of(result.path) == files_of(alone.path)
    assert result.counts == alone.counts


def test_processes_that_always_die_fail_the_stage_with_a_remedy(clips, tmp_path):
    with (
        killing(tmp_path, pool_pids, first_part=False),
        pytest.raises(RuntimeError, match=r"died 2 times.*processes"),
    ):  # without a flow, whose task would be repeated after a minute
        parameters = PipelineParameters(convert=PARAMETERS, workers=Workers(processes=2))
        run_stage("convert", Context(tmp_path, parameters), clips=str(clips))
    assert not list((tmp_path / "windows").glob("[!.]*"))


def test_a_dask_cluster_whose_worker_is_killed_writes_the_same_bytes(clips, alone, tmp_path):
    pytest.importorskip("distributed", reason="the extra pose-uplift[dask] is not installed")
    with dask_cluster(tmp_path, workers=2) as (address, pids), killing(tmp_path, lambda: pids) as killed:
        result = convert(str(clips), PARAMETERS, Workers(dask=address), str(tmp_path))
    assert len(killed) == 1
    assert files_of(result.path) == files_of(alone.path)
    assert result.counts == alone.counts


def test_a_missing_dask_cluster_is_named(clips, tmp_path):
    pytest.importorskip("distributed", reason="the extra pose-uplift[dask] is not installed")
    with pytest.raises(InputError, match=r"workers\.dask=tcp://127\.0\.0\.1:9: no Dask scheduler"):
        convert(str(clips), PARAMETERS, Workers(dask="tcp://127.0.0.1:9"), str(tmp_path))


def test_without_dask_the_error_has_the_install_command(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'pose-uplift\[dask\]'"):
        convert(str(clips), PARAMETERS, Workers(dask="tcp://127.0.0.1:9"), str(tmp_path))


def test_workers_do_not_change_the_digest(clips, alone, tmp_path):
    assert convert(str(clips), PARAMETERS, Workers(processes=3), str(alone.path.parent.parent)).cached
