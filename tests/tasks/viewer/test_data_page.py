"""Tests of the page that compares clips with those of the champion."""

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from mlflow import MlflowClient

from data_contracts.clips import CLIPS_FILE, Clip, SeenClips, summarise, to_arrow
from data_contracts.parameters import ConvertParameters, IngestParameters
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from tasks.tracking.registry import CHAMPION, MODEL_NAME, WINDOWS_TAG
from tasks.tracking.runs import connect, track_stage
from tasks.viewer.clip_sets import ClipSet, drifts
from tasks.viewer.data_page import DATA_PAGE, data_page, log_data_page

PEOPLE = 12


def write_clips(folder, walking, people, action="walking", taller=1.0, quarantined=1):
    """Write ten clips per subject, of growing length and height; return the part of the manifest that is read."""
    clips = [
        Clip(10 * person + n, f"{person}-{n}", f"p{person:02}", action if n else "running", 60.0, poses)
        for person in people
        for n in range(10)
        for poses in [(walking[: 60 + 2 * n + person] * (taller + person / 100)).astype(np.float32)]
    ]
    table = arrow.Table.from_batches([to_arrow(clips, summarise(clips, SeenClips()))])
    parquet.write_table(table, folder / CLIPS_FILE)
    statistics = {"checks_broken": {"facing": quarantined} if quarantined else {}, "datasets": {"p03": "CMU"}}
    return {"counts": {"clips": len(clips), "quarantined": quarantined}, "statistics": statistics}


@pytest.fixture
def clip_set(walking, tmp_path):
    def make(digest, people, **options):
        folder = tmp_path / digest
        folder.mkdir()
        return ClipSet.read(folder, write_clips(folder, walking, people, **options) | {"digest": digest})

    return make


def cells(page, first):
    """Return the other cells of the table row that starts with `first`."""
    row = re.search(rf"<tr><td>{re.escape(first)}</td>(.*?)</tr>", page).group(1)
    return re.findall(r"<td>(.*?)</td>", row)


def test_new_and_removed_subjects_clips_and_actions_are_counted(clip_set):
    before, now = clip_set("before", range(PEOPLE)), clip_set("now", range(2, PEOPLE + 1), action="jumping<b>")
    page = data_page(now, before, "reference", drifts(before, now))
    assert cells(page, "subjects") == ["11", "12", "1", "2"]
    assert cells(page, "clips") == ["110", "120", "10", "20"]
    assert cells(page, "actions") == ["2", "2", "1", "1"]
    hours = [float(cell) for cell in cells(page, "hours")]
    assert hours[0] - hours[2] == pytest.approx(hours[1] - hours[3], rel=0.01)
    assert cells(page, "quarantined")[:2] == ["1 of 111, 0.9%", "1 of 121, 0.8%"]
    assert cells(page, "p12")[-1] == "new"
    assert cells(page, "p03")[0] == "CMU"
    assert "Only in the champion's clips: p00, p01." in page
    assert cells(page, "jumping&lt;b&gt;")[-1] == "new"
    assert "<b>" not in page


def test_the_warning_for_a_moved_distribution_has_statistic_and_bound(clip_set):
    before, taller = clip_set("before", range(PEOPLE)), clip_set("now", range(PEOPLE), taller=1.3, action="falling")
    results = drifts(before, taller)
    page = data_page(taller, before, "reference", results)
    assert {drift.name for drift in results if drift.moved} >= {"stature of subjects, m", "actions of clips"}
    assert not next(drift for drift in results if drift.name == "length of clips, s").moved
    line = (
        "stature of subjects, m: the distribution moved since the champion's clips: Kolmogorov-Smirnov distance 1.000"
    )
    assert f"{line}, bound 0.7" in html.unescape(page)
    assert page.count('class="moved"') == sum(drift.moved for drift in results)


def test_equal_clips_have_no_new_clips_and_no_drift(clip_set):
    before = clip_set("before", range(PEOPLE))
    page = data_page(replace(before, digest="now"), before, "reference", drifts(before, before))
    assert cells(page, "clips") == ["120", "120", "0", "0"]
    assert 'class="moved"' not in page
    assert "Only in" not in page


def test_without_a_champion_the_page_describes_the_clips_alone(clip_set):
    page = data_page(clip_set("now", range(3)), None, "There is no champion", [])
    assert "There is no champion" in page
    assert cells(page, "subjects") == ["3"]
    assert "<svg" in page
    assert "champion</th>" not in page
    for request in ("<script", "src=", "url(http", "@import"):
        assert request not in page


def test_subjects_beyond_the_table_are_counted(clip_set):
    page = data_page(clip_set("now", range(33)), None, "", [])
    assert "and 3 more subjects" in page


@pytest.fixture
def champion(empty_store, walking):
    """Register a champion; return the clips and windows that it was trained on."""
    client: MlflowClient = connect(empty_store)
    with open_stage(empty_store, StageKey("clips", "ingest", IngestParameters(), {"source": "a"})) as clips:
        manifest = write_clips(clips.folder, walking, range(PEOPLE))
        clips.counts |= manifest["counts"]
        clips.statistics |= manifest["statistics"]
    with open_stage(
        empty_store, StageKey("windows", "convert", ConvertParameters(), {"clips": clips.digest})
    ) as windows:
        windows.counts |= {"windows": {}}
    client.create_registered_model(MODEL_NAME)
    version = client.create_model_version(MODEL_NAME, "somewhere", tags={WINDOWS_TAG: windows.digest})
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, version.version)
    return clips, windows


def logged(store, clips):
    """Log the page to a run; return the page file, the tags and the warnings."""
    with open_stage(store, StageKey("clips", "ingest", IngestParameters(), {"source": "b"})) as stage:
        with track_stage(store, stage, None) as tracked:
            warnings = log_data_page(store, tracked, clips)
        parquet.write_table(arrow.table({"a": [1]}), stage.folder / CLIPS_FILE)
    tags = tracked.client.get_run(tracked.run_id).data.tags
    return MlflowClient().download_artifacts(tracked.run_id, DATA_PAGE), tags, warnings


def test_the_run_has_the_page_and_a_tag_of_the_moved_distributions(champion, empty_store, clip_set):
    file, tags, warnings = logged(empty_store, clip_set("now", range(PEOPLE), taller=1.3))
    text = Path(file).read_text(encoding="utf-8")
    assert f"Compared with clips {champion[0].digest} of pose-uplift version 1, the champion." in text
    assert len(warnings) == text.count('class="moved"') > 0
    assert "stature of subjects, m" in tags["uplift.data.moved"]


def test_the_page_reports_that_the_champions_clips_are_missing(champion, empty_store, clip_set):
    (champion[1].folder / "manifest.json").unlink()
    file, tags, warnings = logged(empty_store, clip_set("now", range(3)))
    text = Path(file).read_text(encoding="utf-8")
    assert "cannot be read, so the clips are not compared: " in text
    assert champion[1].digest in text
    assert (tags["uplift.data.moved"], warnings) == ("nothing", [])
