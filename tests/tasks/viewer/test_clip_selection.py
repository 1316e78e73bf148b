"""Tests of the selection of the worst, the median and the best clip for the viewer."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from model.scoring.evaluation import evaluate
from tasks.viewer.clip_selection import MAX_SECONDS, select_scenes
from tasks.viewer.evaluation_viewer import viewer_html

WINDOW = 9


@pytest.fixture
def overlapping(windows):
    """Return val windows of 9 frames (stride 9, the last one aligned to the end of the clip) with scalar columns."""
    _, val = windows
    rows = val.rows.assign(
        fps=60.0, pitch_deg=0.0, roll_deg=0.0, group=[f"person {clip}" for clip in val.rows["clip_id"]]
    )
    return replace(val, rows=rows)


def clip_of(windows, pose_2d):
    """Return true poses, scales and clip ids (B,) of windows, found by their 2D poses."""
    where = [int((windows.pose_2d == one).all(dim=(1, 2, 3)).nonzero()[0, 0]) for one in pose_2d]
    return windows.pose_3d[where], windows.scale[where], torch.from_numpy(windows.rows["clip_id"].to_numpy()[where])


def off_by_clip(windows, centimetres):
    """Return a lifter that adds a depth error per clip to each true joint except the pelvis."""

    def lifter(pose_2d):
        truth, scale, clip = clip_of(windows, pose_2d)
        wrong = torch.tensor([centimetres[int(one)] / 100 for one in clip]) * scale
        off = torch.zeros_like(truth)
        off[:, :, 1:, 2] = wrong[:, None, None]
        return truth + off

    return lifter


def scenes_of(windows, lifter):
    return select_scenes(windows, evaluate(lifter, windows, 16).errors, lifter, batch_size=4)


def test_scenes_are_the_worst_the_median_and_the_best_clip(overlapping):
    clips = list(dict.fromkeys(overlapping.rows["clip_id"]))
    wrong = {clip: place + 1 for place, clip in enumerate(clips)}
    scenes = scenes_of(overlapping, off_by_clip(overlapping, wrong))
    chosen = (clips[-1], clips[len(clips) - 1 - len(clips) // 2], clips[0])
    assert [scene.name for scene in scenes] == ["worst", "median", "best"]
    for scene, clip in zip(scenes, chosen, strict=True):
        error = 10 * wrong[clip] * 16 / 17
        assert scene.title.startswith(f"clip {clip}, camera 0")
        assert f"subject person {clip} · walking · {error:.1f} mm" in scene.title
        np.testing.assert_allclose(scene.subjects[0].error_mm, error, rtol=1e-4)
        poses = scene.subjects[0].poses
        np.testing.assert_allclose((poses["prediction"] - poses["truth"])[:, 1:, 2], wrong[clip] / 100, atol=1e-5)


def test_a_frame_in_two_windows_has_the_mean_of_both(overlapping):
    one = overlapping.rows["clip_id"] == overlapping.rows["clip_id"].iloc[0]
    rows = overlapping.rows[one]
    starts = rows["start"].to_numpy()
    assert starts[-1] - starts[-2] < WINDOW  # they overlap
    last = overlapping.pose_2d[rows.index[-1]]

    def lifter(pose_2d):
        truth, scale, _ = clip_of(overlapping, pose_2d)
        is_last = (pose_2d == last).all(dim=(1, 2, 3)).float()
        off = torch.zeros_like(truth)
        off[:, :, 1:, 2] = (0.1 * is_last * scale)[:, None, None]
        return truth + off

    scenes = scenes_of(overlapping, lifter)
    track = scenes[0].subjects[0]
    depth = (track.poses["prediction"] - track.poses["truth"])[:, 1, 2]
    shared = starts[-2] + WINDOW - starts[-1]
    np.testing.assert_allclose(depth[: starts[-1]], 0, atol=1e-6)
    np.testing.assert_allclose(depth[starts[-1] : starts[-1] + shared], 0.05, atol=1e-6)
    np.testing.assert_allclose(depth[starts[-1] + shared :], 0.1, atol=1e-6)
    assert len(track.pose_2d) == starts[-1] + WINDOW


def test_a_long_clip_is_cut_to_a_typical_section(overlapping):
    rows = overlapping.rows.assign(fps=4.0)  # a clip is longer than MAX_SECONDS
    slow = replace(overlapping, rows=rows)
    scenes = scenes_of(slow, off_by_clip(slow, dict.fromkeys(rows["clip_id"], 1)))
    assert len(scenes[0].subjects[0].pose_2d) in range(MAX_SECONDS * 4 - WINDOW, MAX_SECONDS * 4 + 1)
    assert len(viewer_html("clips", scenes)) < 2_000_000


def test_padded_clips_are_left_out_and_a_single_clip_is_the_best(overlapping):
    lifter = off_by_clip(overlapping, dict.fromkeys(overlapping.rows["clip_id"], 1))
    errors = evaluate(lifter, overlapping, 16).errors
    first = overlapping.rows["clip_id"] == overlapping.rows["clip_id"].iloc[0]
    padded = errors.assign(frames=np.where(first, WINDOW, WINDOW - 1))
    assert [scene.name for scene in select_scenes(overlapping, padded, lifter, 4)] == ["best"]
    assert select_scenes(overlapping, pd.DataFrame(errors.assign(frames=1)), lifter, 4) == []


def test_poses_of_a_pitched_camera_are_levelled(overlapping):
    truth = off_by_clip(overlapping, dict.fromkeys(overlapping.rows["clip_id"], 0))
    level = scenes_of(overlapping, truth)[0].subjects[0].poses["truth"]
    down = replace(overlapping, rows=overlapping.rows.assign(pitch_deg=30.0))
    turned = scenes_of(down, truth)[0].subjects[0].poses["truth"]
    sin, cos = 0.5, np.sqrt(3) / 2
    np.testing.assert_allclose(turned[..., 1], cos * level[..., 1] + sin * level[..., 2], atol=1e-6)
    np.testing.assert_allclose(turned[..., 2], cos * level[..., 2] - sin * level[..., 1], atol=1e-6)
