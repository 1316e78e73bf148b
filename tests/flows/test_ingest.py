"""Ingest stores clean clips exactly, and names broken clips."""

import pickle
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest
from prefect.artifacts import Artifact

from data_contracts.clips import from_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from data_contracts.skeleton import MIRROR
from data_contracts.store.checking import check_folder
from tasks.stage_runs.progress import report_progress
from tests.flows.typed import ingest
from tests.tasks.ingest.formats.marker_files import plug_in_gait, write_c3d, write_trc
from tests.tasks.ingest.formats.rigs import RIGS, write_rig


def read_clips(folder):
    return [clip for batch in parquet.read_table(f"{folder}/clips.parquet").to_batches() for clip in from_arrow(batch)]


@pytest.fixture
def clean(walking):
    """Return 24 different clips (17, frames, 3) of one walk."""
    clips = [np.ascontiguousarray(walking.transpose(1, 0, 2)).astype(np.float64) for _ in range(24)]
    for index, clip in enumerate(clips):
        clip[..., 0] += index
    return clips


@pytest.fixture
def dirty(clean, tmp_path):
    """Write a pickle in which every second clip up to 21 is damaged in a different way, and its clip list."""
    clips = clean
    clips[1][4, 10, 2] = np.nan
    clips[3][:] = clips[3][:, :1]
    clips[5][:, 40:] += 5
    clips[7] = clips[7][:16]
    clips[9] = clips[9][list(MIRROR)]
    clips[11] *= 1000
    clips[13] = np.zeros((0,))
    clips[15] = clips[15][:, :0]
    clips[17] = clips[2]
    clips[19] = clips[19][:, :12]
    source = tmp_path / "dirty.pkl"
    source.write_bytes(pickle.dumps(clips, protocol=4))
    frames = [clip.shape[1] if clip.ndim == 3 else 0 for clip in clips]
    rows = [{"clip_id": i, "fname": f"take_{i}", "clip_len": n, "subject": f"s{i % 4}"} for i, n in enumerate(frames)]
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    return clips, source, tmp_path / "list.csv"


def test_broken_clips_are_in_quarantine_and_clean_clips_are_stored_exactly(dirty, empty_store):
    clips, source, clip_list = dirty
    result = ingest(str(source), str(clip_list), IngestParameters(max_quarantined=0.5), str(empty_store))
    assert result.counts["quarantined"] == 10
    quarantine = pd.read_csv(result.path / "quarantine.csv")
    assert list(quarantine.columns) == ["clip_id", "file", "name", "check", "value", "bound"]
    assert set(quarantine["file"]) == {"dirty.pkl"}
    checks = quarantine.groupby("clip_id")["check"].agg(set).to_dict()
    assert checks == {
        1: {"non_finite"},
        3: {"frozen_share"},
        5: {"speed_max"},
        7: {"joints"},
        9: {"facing"},
        11: {"stature", "bone_max", "speed_max"},
        13: {"dimensions"},
        15: {"frames"},
        17: {"duplicate_of"},
        19: {"min_frames"},
    }
    assert quarantine.loc[quarantine["check"] == "duplicate_of", "value"].tolist() == [2]
    kept = read_clips(result.folder)
    assert [clip.clip_id for clip in kept] == [i for i in range(24) if i not in checks]
    for clip in kept:
        np.testing.assert_array_equal(clip.poses, clips[clip.clip_id].transpose(1, 0, 2).astype(np.float32))
        assert clip.group == f"s{clip.clip_id % 4}"


def test_too_many_broken_clips_fail_the_stage_with_the_report(dirty, empty_store):
    _, source, clip_list = dirty
    with pytest.raises(InputError, match=r"9 of 24 clips break.*non_finite in 1 \(clip take_1"):
        ingest(str(source), str(clip_list), store=str(empty_store))
    assert not list((empty_store / "clips").glob("[!.]*"))


def test_a_clip_list_of_another_pickle_is_refused_by_row(dirty, empty_store):
    _, source, clip_list = dirty
    rows = pd.read_csv(clip_list)
    rows.loc[2, "clip_len"] += 1
    rows.to_csv(clip_list, index=False)
    with pytest.raises(InputError, match=r"row 2 \(take_2\)"):
        ingest(str(source), str(clip_list), store=str(empty_store))
    rows.iloc[:3].to_csv(clip_list, index=False)
    with pytest.raises(InputError, match="pass the clip list of this motion file"):
        ingest(str(source), str(clip_list), store=str(empty_store))


def test_a_pickle_of_something_else_is_refused(tmp_path, empty_store):
    (tmp_path / "dict.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="no motion found"):
        ingest(str(tmp_path / "dict.pkl"), store=str(empty_store))


def test_real_motion_passes_with_nothing_quarantined(cmu_folder, empty_store):
    source = cmu_folder / "amass_joints_h36m_60.pkl"
    result = ingest(str(source), str(cmu_folder / "clip_list.csv"), store=str(empty_store))
    assert result.counts == {"clips": 117, "frames": 92_932, "quarantined": 0}
    assert result.statistics["shared_skeletons"] == [["02", "c2s"], ["60", "61", "94"]]
    published = pickle.loads(source.read_bytes())
    for clip, array in zip(read_clips(result.folder), published, strict=True):
        np.testing.assert_array_equal(clip.poses, array.transpose(1, 0, 2).astype(np.float32))


LAYOUTS = {
    "list.pkl": lambda path, clips: path.write_bytes(pickle.dumps([clip.transpose(1, 0, 2) for clip in clips])),
    "names.pkl": lambda path, clips: path.write_bytes(pickle.dumps({f"take {i}": c for i, c in enumerate(clips)})),
    "stack.npy": lambda path, clips: np.save(path, np.stack(clips)),
    "names.npz": lambda path, clips: np.savez(path, **{f"take {i}": clip for i, clip in enumerate(clips)}),
    "videopose.npz": lambda path, clips: np.savez_compressed(
        path, positions_3d={f"S{i}": {"Walking": c.transpose(1, 0, 2)} for i, c in enumerate(clips)}
    ),
    "CMU.npz": lambda path, clips: np.savez_compressed(
        path,
        positions_3d={
            f"{i:02d}": {"take": {"positions_3d": c.transpose(1, 0, 2), "frame_rate": 60.0}}
            for i, c in enumerate(clips)
        },
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_clips(clean, tmp_path, name, empty_store):
    LAYOUTS[name](tmp_path / name, clean)
    result = ingest(str(tmp_path / name), store=str(empty_store))
    assert result.counts == {"clips": 24, "frames": 24 * clean[0].shape[1], "quarantined": 0}
    for clip, poses in zip(read_clips(result.folder), clean, strict=True):
        np.testing.assert_array_equal(clip.poses, poses.transpose(1, 0, 2).astype(np.float32))
        assert clip.fps == 60
    assert len(result.statistics["groups"]) == 24
    assert any("groups are not subjects" in line for line in result.statistics["warnings"]) == (
        name not in ("videopose.npz", "CMU.npz")
    )


def test_millimetres_and_y_up_are_refused_until_they_are_declared(clean, tmp_path, empty_store):
    source, store = tmp_path / "other.pkl", str(empty_store)
    source.write_bytes(pickle.dumps([1000 * clip[..., [0, 2, 1]] * [1, 1, -1] for clip in clean]))
    with pytest.raises(InputError, match=r"--set ingest\.unit=mm"):
        ingest(str(source), store=store)
    with pytest.raises(InputError, match=r"--set ingest\.up=y"):
        ingest(str(source), parameters=IngestParameters(unit="mm"), store=store)
    result = ingest(str(source), parameters=IngestParameters(unit="mm", up="y"), store=store)
    for clip, poses in zip(read_clips(result.folder), clean, strict=True):
        np.testing.assert_allclose(clip.poses, poses.transpose(1, 0, 2), atol=1e-6)


def test_subjects_and_data_sets_are_read_from_names_of_amass(clean, tmp_path, empty_store):
    source, clip_list = tmp_path / "amass.pkl", tmp_path / "list.csv"
    source.write_bytes(pickle.dumps(clean))
    takes = [f"MPI_HDM05_bk_HDM_bk_{i}.npz" if i % 2 else f"ACCAD_Female{i % 3}General_c3d_A{i}.npz" for i in range(24)]
    lines = [f"{i} , {name} , {clean[0].shape[1]}" for i, name in enumerate(takes)]
    clip_list.write_text("\n".join(["clip_id, fname, clip_len", *lines]))  # with blanks, as MotionBERT writes it
    result = ingest(str(source), str(clip_list), store=str(empty_store))
    assert result.statistics["groups"] == {
        "ACCAD_Female0General": 4, "ACCAD_Female1General": 4, "ACCAD_Female2General": 4, "HDM05_bk": 12,
    }  # fmt: skip
    assert result.statistics["datasets"]["HDM05_bk"] == "HDM05"


def test_a_cached_ingest_does_not_read_the_motion(clean, tmp_path, empty_store, monkeypatch):
    source, store = tmp_path / "again.pkl", str(empty_store)
    source.write_bytes(pickle.dumps(clean))
    first = ingest(str(source), store=store)
    monkeypatch.setattr("tasks.ingest.plan.read_motion_file", lambda *_: pytest.fail("the motion was read"))
    again = ingest(str(source), store=store)
    assert again.cached
    assert again.folder == first.folder


@pytest.fixture
def two_folders(clean, tmp_path):
    """Write two files of one name: joints first with a clip list, and frames first with names in the file."""
    folder = tmp_path / "data"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    first, second = clean[:10], clean[10:]
    (folder / "a/motion.npz").write_bytes(pickle.dumps(first, protocol=4))
    rows = [{"fname": f"take_{i}", "subject": f"s{i % 2}", "fps": 50} for i in range(len(first))]
    pd.DataFrame(rows).to_csv(folder / "a/clip_list.csv", index=False)
    takes = {"s1": {"run": second[0].transpose(1, 0, 2)}}
    takes |= {f"p{i}": {"walk": clip.transpose(1, 0, 2)} for i, clip in enumerate(second[1:])}
    np.savez(folder / "b/motion.npz", positions_3d=takes)
    return folder, first + second


def test_files_of_different_layouts_become_one_clip_store(two_folders, empty_store):
    folder, poses = two_folders
    result = ingest(str(folder), store=str(empty_store))
    clips = read_clips(result.folder)
    assert [clip.clip_id for clip in clips] == list(range(24))
    for clip, array in zip(clips, poses, strict=True):
        np.testing.assert_array_equal(clip.poses, array.transpose(1, 0, 2).astype(np.float32))
        assert clip.fps == (50 if clip.clip_id < 10 else 60)
    about = [(file["file"], file["layout"], file["first_clip"], file["clips"]) for file in result.statistics["files"]]
    assert about == [("a/motion.npz", "joints_first", 0, 10), ("b/motion.npz", "frames_first", 10, 14)]
    check_folder(result.path)
    named = [str(folder / "a/motion.npz"), str(folder / "b/motion.npz")]
    lists = [str(folder / "a/clip_list.csv")]
    with pytest.raises(InputError, match="1 clip list"):
        ingest(named, lists, store=str(empty_store))
    assert ingest(named, store=str(empty_store)).cached


def test_recordings_and_arrays_of_another_unit_become_one_clip_store(walking, tmp_path, empty_store):
    gait = plug_in_gait(walking)
    gait["LKNE"][90:130] = np.nan
    write_c3d(tmp_path / "a.c3d", gait)
    write_rig(tmp_path / "b.BVH", walking, RIGS["biped"])
    np.save(tmp_path / "c.npy", walking * 1000)
    write_trc(tmp_path / "d.trc", plug_in_gait(walking))
    result = ingest(str(tmp_path), parameters=IngestParameters(unit="mm"), store=str(empty_store))
    assert result.counts == {"clips": 5, "frames": 4 * len(walking) - 40, "quarantined": 0}
    assert [file["about"] for file in result.statistics["files"]] == [
        f"C3D of Plug-in-Gait markers, unit mm, z up, 2 clips between gaps, 40 of {len(walking)} frames left out",
        "BVH of 19 joints, unit inches, z up",
        "Human3.6M",
        "TRC of Plug-in-Gait markers, unit mm, y up",
    ]
    first, second, rig, array, _ = read_clips(result.folder)
    assert (first.group, second.group, rig.group) == ("a", "a", "b")
    np.testing.assert_allclose(array.poses, walking, atol=1e-6)
    for clip in (rig, np.concatenate([first.poses, walking[90:130], second.poses])):
        poses = clip if isinstance(clip, np.ndarray) else clip.poses
        assert np.linalg.norm(poses - walking, axis=-1).max() < 0.12


def test_a_group_in_two_files_is_one_subject_and_is_reported_with_its_counts(two_folders, empty_store):
    result = ingest(str(two_folders[0]), store=str(empty_store))
    assert result.statistics["groups"]["s1"] == 6
    warning = r"1 group name.* treated as one subject: clips of s1 \(5 in a/motion\.npz, 1 in b/motion\.npz\)"
    assert any(re.search(warning, line) for line in result.statistics["warnings"])
    same = "groups with equal bone lengths may be one subject: (p0, "
    assert sum(same in line for line in result.statistics["warnings"]) == 1
    assert any({"p0", "s0"} <= set(names) for names in result.statistics["shared_skeletons"])


def test_clips_without_names_are_numbered_across_files(clean, tmp_path, empty_store):
    for name, clips in (("a.pkl", clean[:4]), ("b.pkl", clean[4:9])):
        (tmp_path / name).write_bytes(pickle.dumps(clips))
    result = ingest([str(tmp_path / "a.pkl"), str(tmp_path / "b.pkl")], store=str(empty_store))
    assert list(result.statistics["groups"]) == [f"clip_{i:06d}" for i in range(9)]  # else two subjects would be one
    assert "9 of 9 clips (in a.pkl, b.pkl) have no subject" in result.statistics["warnings"][0]


def test_a_duplicate_of_another_file_is_in_quarantine_with_its_file(clean, tmp_path, empty_store):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(clean[:12]))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps([clip.astype(np.float32) for clip in [*clean[12:], clean[3]]]))
    sources = [str(tmp_path / name) for name in ("a.pkl", "b.pkl")]
    result = ingest(sources, parameters=IngestParameters(max_quarantined=0.1), store=str(empty_store))
    (row,) = pd.read_csv(result.path / "quarantine.csv").to_dict("records")
    assert (row["clip_id"], row["file"], row["check"], row["value"]) == (24, "b.pkl", "duplicate_of", 3)
    message = r"a\.pkl, b\.pkl: 1 of 25 clips break .* \(1 of them in b\.pkl\), .*24 of b\.pkl: duplicate_of .* is 3"
    with pytest.raises(InputError, match=message):
        ingest(sources, parameters=IngestParameters(max_quarantined=0), store=str(empty_store))


def test_one_bad_file_refuses_all_and_is_named(two_folders, empty_store):
    folder, poses = two_folders
    bad, store = folder / "c.pkl", str(empty_store)
    for content, message in (
        ([1000 * clip for clip in poses], r"c\.pkl: bodies are .*ingest\.unit=mm; the value applies to all 3 files"),
        ({"a": 1}, r"c\.pkl: no motion found"),
        ([poses[0], np.array(["x"])], r"c\.pkl: "),
    ):
        bad.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=message):
            ingest(str(folder), store=store)
    bad.write_bytes(pickle.dumps(poses[:3]))
    bad.with_suffix(".csv").write_text("fname, clip_len\nx, 1\ny, 2\nz, 3\n")
    with pytest.raises(InputError, match=r"c\.csv: row 0 \(x\) has clip_len 1, but the clip in .*c\.pkl has"):
        ingest(str(folder), store=store)
    assert not list((empty_store / "clips").glob("[!.]*"))


def test_progress_counts_the_bytes_of_all_files(two_folders, empty_store, monkeypatch):
    totals = []
    monkeypatch.setattr(
        "tasks.ingest.ingest.report_progress", lambda *about: totals.append(about) or report_progress(*about)
    )
    ingest(str(two_folders[0]), store=str(empty_store))
    assert totals == [("ingest", "bytes", sum(file.stat().st_size for file in two_folders[0].glob("*/motion.npz")))]
    assert "24 clips" in Artifact.get("ingest-progress").description
