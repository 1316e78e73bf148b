"""A folder as its stage wrote it passes the check; a flipped bit, a lost or foreign file, a broken contract do not."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from safetensors.numpy import save_file

from data_contracts.clips import (
    CLIP_SCHEMA,
    CLIPS_FILE,
    QUARANTINE_COLUMNS,
    QUARANTINE_FILE,
    Clip,
    SeenClips,
    summarise,
    to_arrow,
)  # fmt: skip
from data_contracts.errors import InputError
from data_contracts.keypoints.table import KEYPOINTS_FILE, SHORT_TRACK_COLUMNS, SHORT_TRACKS_FILE
from data_contracts.keypoints.table import to_arrow as tracks_to_arrow
from data_contracts.keypoints.track import Track
from data_contracts.motion.motion import MOTION_FILE, Motion, write_motion
from data_contracts.parameters import (
    BaselinesParameters,
    ConvertParameters,
    EvaluateParameters,
    FinetuneParameters,
    IngestParameters,
    KeypointsParameters,
    LiftParameters,
    SyntheticParameters,
)  # fmt: skip
from data_contracts.report import (
    BASELINES,
    METHODS,
    METRICS,
    PCK_CURVE_MM,
    REPORT_FILE,
    SCORE_COLUMNS,
    WEIGHT_COLUMNS,
    WINDOW_COLUMNS,
    Estimate,
    Estimates,
    MethodScores,
    Report,
    Resampling,
    baseline_file,
    write_errors,
)  # fmt: skip
from data_contracts.splits import SPLITS, split_groups
from data_contracts.store import identities
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import Identity
from data_contracts.store.folders import CHECKPOINT_FILE, open_stage
from data_contracts.store.manifests import read_manifest, write_json
from flows.command_line import main
from tasks.convert import write_windows
from tasks.synthetic.motion import generate

CONVERT = ConvertParameters(window=9, stride=9, views=1)


@pytest.fixture(scope="module")
def motion():
    arrays, rows = generate(seed=7, people=4, seconds=1.5)
    return [
        Clip(
            i, f"take_{i}", row["subject"], row["action"], 60.0, np.ascontiguousarray(a.transpose(1, 0, 2), np.float32)
        )
        for i, (a, row) in enumerate(zip(arrays, rows, strict=True))
    ]


def write_clips(store, clips, damage=lambda batch: batch, counts=None):
    """A clip folder as ingest writes it, of clips that are not checked; the first stands in quarantine."""
    groups = pd.Series([clip.group for clip in clips[1:]]).value_counts().to_dict()
    with open_stage(store, Identity("clips", "ingest", IngestParameters(), {"source": "abc"})) as stage:
        with parquet.ParquetWriter(stage.folder / CLIPS_FILE, CLIP_SCHEMA, compression="none") as table:
            for some in np.array_split(np.array(clips[1:], dtype=object), 3):
                table.write_batch(damage(to_arrow(list(some), summarise(list(some), SeenClips()))))
        quarantine = pd.DataFrame(
            [(0, "motion.pkl", clips[0].name, "min_frames", 12, "ge")], columns=list(QUARANTINE_COLUMNS)
        )
        quarantine.to_csv(stage.folder / QUARANTINE_FILE, index=False)
        frames = sum(len(clip.poses) for clip in clips[1:])
        stage.counts |= {"clips": len(clips) - 1, "frames": frames, "quarantined": 1} | (counts or {})
        stage.statistics |= {"groups": groups, "datasets": dict.fromkeys(groups)}
    return stage.folder


def write_window_parts(store, clips, damage=lambda folder: None):
    """A window folder as convert writes it; `damage` comes before the manifest."""
    with open_stage(store, identities.convert(clips, CONVERT)) as stage:
        batches = parquet.ParquetFile(clips / CLIPS_FILE).num_row_groups
        counts = pd.concat([write_windows.fn(clips, stage.folder, batch, CONVERT) for batch in range(batches)])
        by_split = counts.groupby(level="split").sum()
        stage.counts |= {"windows": by_split["windows"].to_dict(), "clips": by_split["clips"].to_dict()}
        groups = counts.groupby(level="split").apply(lambda rows: sorted(set(rows.index.get_level_values("group"))))
        stage.statistics |= {"groups": groups.to_dict()}
        damage(stage.folder)
    return stage.folder


def write_report(store, damage=lambda errors: errors):
    """Of three windows that every method misses by a millimetre; `damage` comes before the table is written."""
    one = Estimate(value=1, low=1, high=1, over="clips", units=3, windows=3)
    tables = {name: {"a": one} for name in Estimates.model_fields if name.startswith("per_")}
    scores = MethodScores(**dict.fromkeys(METRICS, one), **tables, pck_curve=[1.0] * len(PCK_CURVE_MM))
    errors = pd.DataFrame({"window_id": ["a", "b", "c"]} | dict.fromkeys((*WEIGHT_COLUMNS, *SCORE_COLUMNS), 1.0))
    errors = errors.assign(**dict.fromkeys(WINDOW_COLUMNS[1:], 0))
    with open_stage(store, Identity("reports", "evaluate", EvaluateParameters(), {"windows": "abc"})) as stage:
        report = Report(
            split="test",
            **dict.fromkeys(("windows", "frames", "people", "clips"), 3),
            digests={"report": stage.digest},
            model_uri=None,
            versions={},
            resampling=Resampling(),
            ridge_penalty=1,
            **dict.fromkeys(METHODS, scores),
        )
        write_json(stage.folder / REPORT_FILE, report.model_dump(mode="json"))
        write_errors(stage.folder, dict.fromkeys(METHODS, errors) | {"model": damage(errors)})
        stage.counts["windows"] = 3
    return stage.folder


def write_run(store, weight=1.0):
    with open_stage(store, Identity("runs", "finetune", FinetuneParameters(), {"windows": "abc"})) as stage:
        save_file({"network.w": np.full((3, 3), weight, np.float32)}, stage.folder / CHECKPOINT_FILE)
    return stage.folder


def write_baselines(store, weight=1.0):
    with open_stage(store, Identity("baselines", "baselines", BaselinesParameters(), {"windows": "abc"})) as stage:
        for name in BASELINES:
            save_file({"w": np.full((3, 3), weight, np.float32)}, stage.folder / baseline_file(name))
    return stage.folder


def write_synthetic(store):
    with open_stage(store, Identity("synthetic", "synthesise", SyntheticParameters(), {})) as stage:
        (stage.folder / "motion.pkl").write_bytes(b"a pickle")
    return stage.folder


def write_keypoints(store, damage=lambda table: table, counts=None):
    """A keypoints folder of two tracks of 12 and 5 frames as its stage writes it; `damage` is done before that."""
    pose_2d = np.random.default_rng(3).uniform(10, 300, (12, 17, 3)).astype(np.float32)
    pose_2d[..., 2] = 0.9
    unseen = np.zeros((12, 17), bool)
    tracks = [Track("", -1, 40, pose_2d, unseen, fps=30.0), Track("", 7, 2, pose_2d[:5].copy(), unseen[:5])]
    table = damage(tracks_to_arrow(tracks))
    with open_stage(store, Identity("keypoints", "keypoints", KeypointsParameters(), {"source": "abc"})) as stage:
        parquet.write_table(table, stage.folder / KEYPOINTS_FILE, compression="zstd")
        pd.DataFrame(columns=list(SHORT_TRACK_COLUMNS)).to_csv(stage.folder / SHORT_TRACKS_FILE, index=False)
        stage.counts |= {"tracks": 2, "frames": len(table), "short_tracks": 0} | (counts or {})
    return stage.folder


def write_motions(store, **damaged):
    """A lift folder of two people of 12 and 6 frames as its stage writes it; `damaged` are arrays of the second."""
    pose = np.zeros((12, 17, 3), np.float32)
    pose[:, 1:] = np.random.default_rng(3).uniform(-0.3, 0.3, (16, 3))
    known = {"root_std": np.ones((12, 3), np.float32), "interpolated": np.zeros((12, 17), bool)}
    known |= {"confidence": np.ones((12, 17), np.float32), "pose_2d": np.ones((12, 17, 3), np.float32)}
    first = Motion("person-0", 30.0, pose, np.zeros((12, 3), np.float32), **known)
    arrays = ("pose_3d", "root", "root_std", "confidence", "interpolated", "pose_2d")
    second = replace(first, name="person-1", **{name: getattr(first, name)[:6] for name in arrays} | damaged)
    with open_stage(store, Identity("motions", "lift", LiftParameters(), {"keypoints": "abc"})) as stage:
        for motion in (first, second):
            (stage.folder / motion.name).mkdir()
            write_motion(motion, stage.folder / motion.name / MOTION_FILE)
        stage.counts |= {"people": 2, "frames": 18}
    return stage.folder


@pytest.fixture(scope="module")
def folders(motion, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    clips = write_clips(store, motion)
    return {
        "clips": clips,
        "windows": write_window_parts(store, clips),
        "reports": write_report(store),
        "runs": write_run(store),
        "baselines": write_baselines(store),
        "synthetic": write_synthetic(store),
        "keypoints": write_keypoints(store),
        "motions": write_motions(store),
    }


@pytest.fixture(params=["clips", "windows", "reports", "runs", "baselines", "synthetic", "keypoints", "motions"])
def folder(folders, request, tmp_path):
    """A copy, under its own name, that a test may damage."""
    source = folders[request.param]
    return shutil.copytree(source, tmp_path / source.name)


def test_a_folder_as_it_was_written_passes_and_says_what_it_held(folders, motion):
    checked = check_folder(folders["clips"])
    assert (checked.stage, checked.files, checked.rows) == ("ingest", 2, len(motion) - 1)
    assert checked.bytes == sum((folders["clips"] / name).stat().st_size for name in (CLIPS_FILE, QUARANTINE_FILE))
    windows = sum(json.loads((folders["windows"] / "manifest.json").read_text())["counts"]["windows"].values())
    assert check_folder(folders["windows"]).rows == windows > 100
    others = ("reports", "runs", "baselines", "synthetic", "keypoints", "motions")
    assert [check_folder(folders[kind]).rows for kind in others] == [3, 1, 3, 0, 17, 18]


def test_the_share_done_grows_to_one(folders):
    for folder in folders.values():
        shares = []
        check_folder(folder, shares.append)
        assert shares == sorted(shares)
        assert shares[0] > 0
        assert shares[-1] in (0.5, 1.0)  # without tables the bytes are all there is


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(folder):
    random = np.random.default_rng(0)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for place in [0, len(data) - 1, *random.integers(0, len(data), 6)]:
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(random.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(InputError) as refusal:
                check_folder(folder)
            assert path.name in str(refusal.value)
        path.write_bytes(data)
    check_folder(folder)


def test_no_byte_of_a_manifest_can_change(folders, tmp_path):
    folder = shutil.copytree(folders["synthetic"], tmp_path / folders["synthetic"].name)
    data = (folder / "manifest.json").read_bytes()
    for byte in range(len(data)):
        flipped = bytearray(data)
        flipped[byte] ^= 1 << byte % 8
        (folder / "manifest.json").write_bytes(flipped)
        with pytest.raises(InputError, match=r"manifest\.json"):
            read_manifest(folder)


def test_missing_extra_and_truncated_files_are_all_told_at_once(folders, tmp_path):
    folder = shutil.copytree(folders["windows"], tmp_path / folders["windows"].name)
    first, second, *_ = sorted((folder / "train").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    (folder / "train" / ".left.lock").touch()
    with pytest.raises(InputError) as refusal:
        check_folder(folder)
    message = str(refusal.value)
    assert "3 kind(s) of fault" in message
    assert f"train/{first.name}: is missing" in message
    assert f"train/{second.name}: is not as it was written" in message
    assert "train/.left.lock: is not of this folder" in message


def test_a_renamed_folder_is_told(folder):
    with pytest.raises(InputError, match=f"digest is {folder.name}, but the folder is named other"):
        check_folder(folder.rename(folder.with_name("other")))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a finished stage folder"):
        check_folder(tmp_path)


def refused(folder):
    with pytest.raises(InputError) as refusal:
        check_folder(folder)
    return str(refusal.value)


def test_clips_that_break_the_contract_are_named_with_the_check(motion, tmp_path):
    clips = [Clip(**vars(clip)) for clip in motion]
    clips[3].poses = clips[3].poses * 1000
    clips[9].poses = clips[5].poses
    message = refused(write_clips(tmp_path, clips))
    assert "clips.parquet: clip take_3: stature" in message
    assert "clips.parquet: clip take_9: duplicate_of 5 breaks" in message
    assert "take_4" not in message


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"clips": 2}, "clips: 27, expected 2"),
        ({"frames": 5}, r"frames: \d+, expected 5"),
        ({"quarantined": 0}, "clips: 1, expected 0"),
    ],
)
def test_clips_must_be_as_many_as_the_manifest_says(motion, tmp_path, counts, message):
    with pytest.raises(InputError, match=message):
        check_folder(write_clips(tmp_path, motion, counts=counts))


def test_scalars_that_are_not_those_of_the_poses_are_told(motion, tmp_path):
    def damage(batch):
        columns = batch.to_pydict() | {"stature": [1.0] * batch.num_rows}
        columns["frames"][0] += 1
        return type(batch).from_pydict(columns, schema=CLIP_SCHEMA)

    message = refused(write_clips(tmp_path, motion, damage))
    assert "its stature is that of other poses" in message
    assert "clip take_1: its poses have not the bytes of its frames" in message


def test_clips_of_another_schema_are_told(motion, tmp_path):
    folder = write_clips(tmp_path / "a", motion)
    table = parquet.read_table(folder / CLIPS_FILE).replace_schema_metadata({"poses.unit": "millimetre"})

    with open_stage(tmp_path / "b", Identity("clips", "ingest", IngestParameters(), {"source": "abc"})) as stage:
        parquet.write_table(table, stage.folder / CLIPS_FILE)
    assert "clips.parquet: its columns, or the shapes, units and axes" in refused(stage.folder)


def with_column(name, change):
    """The damage that puts `change(values)` in the place of a column's values."""

    def damage(table):
        column = arrow.array(change(table[name].to_pylist()), table.schema.field(name).type)
        return table.set_column(table.column_names.index(name), table.schema.field(name), column)

    return damage


def with_pose(row, place, value):
    """The damage that writes one float32 of a row's pose."""

    def change(poses):
        pose = np.frombuffer(poses[row], "<f4").copy()
        pose[place] = value
        return [*poses[:row], pose.tobytes(), *poses[row + 1 :]]

    return with_column("pose_2d", change)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_column("frame", lambda frames: [*frames[:6], *(frame + 1 for frame in frames[6:])]), "track 0: gaps 1"),
        (with_column("frame", lambda frames: [*frames[:12], *range(-7, -2)]), "track 1: first_frame -7"),
        (with_column("track", lambda tracks: [*tracks[:12], *tracks[:4], 1]), "track 0: gaps 1"),
        (with_pose(13, 2, 1.5), "track 1: confidence_max 1.5"),
        (with_pose(13, 2, -0.5), "track 1: confidence_min -0.5"),
        (with_pose(3, 5, 0.0), "track 0: put_in_place 1"),
        (with_pose(3, 4, np.nan), "track 0: non_finite 1"),
        (with_pose(3, 4, 2e5), "track 0: pixels_max 200000"),
        (with_column("frame", lambda frames: [None, *frames[1:]]), "column frame: has no value in a row"),
        (with_column("interpolated", lambda bits: [*bits[:2], None, *bits[3:]]), "column interpolated: has no value"),
        (with_column("pose_2d", lambda poses: [*poses[:-1], None]), "column pose_2d: has no value"),
    ],
)  # fmt: skip
def test_tracks_that_break_the_contract_are_told_though_the_manifest_fits(damage, message, tmp_path):
    assert f"{KEYPOINTS_FILE}: {message}" in refused(write_keypoints(tmp_path, damage))


def test_tracks_must_be_as_many_as_the_manifest_says_and_stand_together(tmp_path):
    assert "keypoints.parquet: tracks: 2, expected 3" in refused(write_keypoints(tmp_path / "a", counts={"tracks": 3}))
    assert "short_tracks.csv: tracks: 0, expected 1" in refused(
        write_keypoints(tmp_path / "b", counts={"short_tracks": 1})
    )
    torn = with_column("track", lambda tracks: [1, *tracks[1:]])
    assert "keypoints.parquet: track numbers: 2, expected 3" in refused(write_keypoints(tmp_path / "c", torn))
    empty = refused(write_keypoints(tmp_path / "d", lambda table: table[:0]))
    assert "keypoints.parquet: tracks: 0, expected 2" in empty


def test_tracks_of_another_schema_are_told(tmp_path):
    message = refused(write_keypoints(tmp_path, lambda table: table.replace_schema_metadata({"unit": "metres"})))
    assert "keypoints.parquet: its columns, or the shapes, units and axes" in message


def test_motion_that_breaks_its_contract_is_named_by_person_and_bound(tmp_path):
    far = np.zeros((6, 17, 3), np.float32)
    far[:, 1] = 2.0
    message = refused(write_motions(tmp_path, pose_3d=far))
    assert "person-1/motion.npz: bone_max 3.4641 breaks" in message
    assert "person-1/motion.npz: reach_max 3.4641 breaks" in message
    cut = refused(write_motions(tmp_path / "a", root=np.zeros((5, 3), np.float32)))
    assert "person-1/motion.npz: root has shape (5, 3), expected (6, 3)" in cut


def test_the_command_names_the_file_of_tampered_keypoints(folders, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(folders["keypoints"], tmp_path / folders["keypoints"].name)
    data = bytearray((folder / KEYPOINTS_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / KEYPOINTS_FILE).write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["uplift", "check", str(folder)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"uplift: {folder}: 1 kind(s) of fault; keypoints.parquet: is not as it was written")


def copy_part(source, target):
    def damage(folder):
        shutil.copy(folder / source, folder / target)

    return damage


def broken_pose(folder):
    path = sorted((folder / "val").iterdir())[0]
    data = path.read_bytes()
    place = data.index(b"\x00\x00\x80\x3f")  # some confidence of 1.0
    path.write_bytes(data[:place] + np.float32(7.0).tobytes() + data[place + 4 :])


def test_windows_of_one_group_in_two_splits_are_told(folders, tmp_path):
    part = sorted((folders["windows"] / "val").iterdir())[0].name
    message = refused(write_window_parts(tmp_path, folders["clips"], copy_part(f"val/{part}", "test/part-99.parquet")))
    group = pd.read_parquet(folders["windows"] / "val" / part, columns=["group", "clip_id"]).iloc[0]
    assert "test/part-99.parquet: window" in message
    assert "is of another split" in message
    assert f"group {group['group']} is in split val too" in message
    assert f"clip {group['clip_id']} is in split val too" in message
    assert "a window_id stands here that stands before" in message
    assert "expected" in message


def test_a_window_that_stands_twice_is_told(folders, tmp_path):
    part = sorted((folders["windows"] / "train").iterdir())[0].name
    message = refused(
        write_window_parts(tmp_path, folders["clips"], copy_part(f"train/{part}", "train/part-99.parquet"))
    )
    assert "train/part-99.parquet: a window_id stands here that stands before" in message


def test_a_window_that_breaks_the_contract_is_named(folders, tmp_path):
    message = refused(write_window_parts(tmp_path, folders["clips"], broken_pose))
    assert "confidence_max 7.0 breaks" in message
    assert "val/part-" in message


def test_errors_that_are_none_or_not_those_of_the_report_are_told(tmp_path):
    infinite = refused(write_report(tmp_path / "a", lambda errors: errors.assign(mpjve_mm=[1, -1, np.inf])))
    assert "window b: mpjve_mm of model is no length and no share (and 1 more)" in infinite
    other = refused(write_report(tmp_path / "b", lambda errors: errors.assign(mpjpe_mm=2)))
    assert "its MPJPE of model is 2 mm, and not the report's" in other


def test_a_checkpoint_that_is_not_finite_is_told(tmp_path):
    assert "tensor network.w has values that are NaN" in refused(write_run(tmp_path, np.nan))
    assert "mlp.safetensors: tensor w has values that are NaN" in refused(write_baselines(tmp_path, np.nan))


def test_the_command_prints_one_line_and_ends_with_2_on_a_fault(folders, tmp_path, monkeypatch, capsys):
    def uplift(*arguments):
        monkeypatch.setattr(sys, "argv", ["uplift", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    store = folders["clips"].parent.parent
    code, out, err = uplift(folders["clips"].name[:6], "--store", store, "--json")
    assert code == 0, err
    assert json.loads(out)["stage"] == "ingest"
    assert "are as written and keep the contract" in err
    folder = shutil.copytree(folders["clips"], tmp_path / folders["clips"].name)
    (folder / QUARANTINE_FILE).unlink()
    code, _, err = uplift(folder)
    assert code == 2
    assert err.strip().splitlines()[-1].startswith(f"uplift: {folder}: 1 kind(s) of fault; quarantine.csv: is missing")


def test_every_group_of_the_fixture_is_in_a_split(folders):
    manifest = json.loads((folders["clips"] / "manifest.json").read_text())
    assert set(split_groups(manifest["statistics"], CONVERT).values()) == set(SPLITS)
