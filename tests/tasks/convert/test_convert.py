"""Resampling of clips, and random samples of windows."""

from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.clips import Clip
from tasks.convert.batches import sample_windows
from tasks.convert.convert import resample

rates = st.sampled_from([10.0, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 100.0, 120.0])


def clip_of(poses: np.ndarray, fps: float) -> Clip:
    return Clip(0, "a", "g", "walking", fps, poses.astype(np.float32))


@given(st.integers(2, 300), rates, rates)
def test_uniform_motion_stays_uniform_at_any_rate(frames, fps, target):
    speed = np.random.default_rng(frames).uniform(-2, 2, (17, 3))
    resampled = resample(clip_of(np.arange(frames)[:, None, None] / fps * speed, fps), target)
    times = np.arange(len(resampled.poses)) / target
    np.testing.assert_allclose(resampled.poses, times[:, None, None] * speed, atol=1e-5)
    assert resampled.fps == target


@given(st.integers(2, 3000), rates, rates)
def test_the_duration_changes_by_less_than_one_new_frame(frames, fps, target):
    resampled = resample(clip_of(np.zeros((frames, 17, 3)), fps), target)
    before, after = (frames - 1) / fps, (len(resampled.poses) - 1) / target
    assert -1e-6 < before - after < 1 / target


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(2, 9), rates)
def test_resampling_up_and_back_restores_every_bit(frames, factor, fps):
    clip = clip_of(np.random.default_rng(frames).normal(size=(frames, 17, 3)), fps)
    back = resample(resample(clip, fps * factor), fps)
    np.testing.assert_array_equal(back.poses, clip.poses)


def test_resampling_to_the_same_rate_changes_no_byte(walking):
    clip = clip_of(walking, 60.0)
    assert resample(clip, 60.0).poses.tobytes() == clip.poses.tobytes()


def test_resampling_agrees_with_a_loop_over_frames(walking):
    resampled = resample(clip_of(walking, 60.0), 25.0)
    for i in range(0, len(resampled.poses), 7):
        time = i / 25.0
        before = int(time * 60)
        share = time * 60 - before
        expected = (1 - share) * walking[before].astype(float) + share * walking[before + 1].astype(float)
        np.testing.assert_allclose(resampled.poses[i], expected, atol=1e-6)


def parts(folder: Path, sizes: list[int]) -> list[Path]:
    files, first = [], 0
    for number, size in enumerate(sizes):
        files.append(folder / f"part-{number}.parquet")
        parquet.write_table(arrow.table({"place": np.arange(first, first + size)}), files[-1], row_group_size=10)
        first += size
    return files


def test_a_sample_covers_all_parts_and_is_reproducible(tmp_path):
    files = parts(tmp_path, [95, 1, 204])
    seen = set()
    for seed in range(40):
        chosen = sample_windows(files, 12, seed)["place"].to_pylist()
        assert len(set(chosen)) == 12
        assert chosen == sample_windows(files, 12, seed)["place"].to_pylist()
        seen |= set(chosen)
    assert min(seen) < 20
    assert max(seen) > 280
    assert len(seen) > 200


def test_a_sample_of_few_windows_contains_all_of_them(tmp_path):
    assert sorted(sample_windows(parts(tmp_path, [2, 3]), 12)["place"].to_pylist()) == [0, 1, 2, 3, 4]
