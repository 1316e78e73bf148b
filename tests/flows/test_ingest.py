"""From pickles on disk to clips in the store: clean clips arrive to the bit, broken ones are named."""

import pickle

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest

from data_contracts.clips import from_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from flows.ingest import ingest


def read_clips(folder):
    return [clip for batch in parquet.read_table(f"{folder}/clips.parquet").to_batches() for clip in from_arrow(batch)]


@pytest.fixture
def dirty(walking, tmp_path):
    """A pickle of 24 clips: 3 has a NaN, 5 is in millimetres, 7 is empty, 9 is short; with its clip list."""
    clips = [np.ascontiguousarray(walking.transpose(1, 0, 2)).astype(np.float64) for _ in range(24)]
    clips[3][4, 10, 2] = np.nan
    clips[5] *= 1000
    clips[7] = clips[7][:, :0]
    clips[9] = clips[9][:, :12]
    source = tmp_path / "dirty.pkl"
    source.write_bytes(pickle.dumps(clips, protocol=4))
    rows = [
        {"clip_id": i, "fname": f"take_{i}", "clip_len": c.shape[1], "subject": f"s{i % 4}"}
        for i, c in enumerate(clips)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    return clips, source, tmp_path / "list.csv"


def test_broken_clips_stand_in_quarantine_and_clean_ones_arrive_to_the_bit(dirty, tmp_path):
    clips, source, clip_list = dirty
    result = ingest(str(source), str(clip_list), IngestParameters(max_quarantined=0.2), str(tmp_path / "store"))
    assert result.counts["quarantined"] == 4
    quarantine = pd.read_csv(result.path / "quarantine.csv")
    checks = quarantine.groupby("name")["check"].agg(set).to_dict()
    assert "stature" in checks.pop("take_5")
    assert checks == {"take_3": {"non_finite"}, "take_7": {"frames"}, "take_9": {"min_frames"}}
    kept = read_clips(result.folder)
    assert [clip.clip_id for clip in kept] == [i for i in range(24) if i not in (3, 5, 7, 9)]
    for clip in kept:
        np.testing.assert_array_equal(clip.poses, clips[clip.clip_id].transpose(1, 0, 2).astype(np.float32))
        assert clip.group == f"s{clip.clip_id % 4}"


def test_too_many_broken_clips_fail_the_stage_with_the_report(dirty, tmp_path):
    _, source, clip_list = dirty
    with pytest.raises(InputError, match=r"3 of 24 clips break.*non_finite in 1 \(clip take_3"):
        ingest(str(source), str(clip_list), store=str(tmp_path / "store"))
    assert not list((tmp_path / "store" / "clips").glob("[!.]*"))


def test_a_clip_list_of_another_pickle_is_refused_by_row(dirty, tmp_path):
    _, source, clip_list = dirty
    rows = pd.read_csv(clip_list)
    rows.loc[2, "clip_len"] += 1
    rows.to_csv(clip_list, index=False)
    with pytest.raises(InputError, match=r"row 2 \(take_2\)"):
        ingest(str(source), str(clip_list), store=str(tmp_path / "store"))
    rows.iloc[:3].to_csv(clip_list, index=False)
    with pytest.raises(InputError, match="belong together"):
        ingest(str(source), str(clip_list), store=str(tmp_path / "store"))


def test_a_pickle_of_something_else_is_refused(tmp_path):
    (tmp_path / "dict.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="expected a list of arrays"):
        ingest(str(tmp_path / "dict.pkl"), store=str(tmp_path / "store"))


def test_real_motion_passes_with_nothing_quarantined(cmu_folder, tmp_path):
    source = cmu_folder / "amass_joints_h36m_60.pkl"
    result = ingest(str(source), str(cmu_folder / "clip_list.csv"), store=str(tmp_path / "store"))
    assert result.counts == {"clips": 117, "frames": 92_932, "quarantined": 0}
    assert result.statistics["shared_skeletons"] == [["02", "c2s"], ["60", "61", "94"]]
    published = pickle.loads(source.read_bytes())
    for clip, array in zip(read_clips(result.folder), published, strict=True):
        np.testing.assert_array_equal(clip.poses, array.transpose(1, 0, 2).astype(np.float32))
