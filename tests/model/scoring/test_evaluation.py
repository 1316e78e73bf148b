import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.parameters import NetworkConfig, Runtime
from data_contracts.report import JOINT_COLUMNS, PCK_CURVE_MM, weight_column
from model.data.loading import WindowTensors, load_windows
from model.lifting.lifter import Lifter
from model.network.network import PoseNetwork
from model.poses import mirror, root_relative
from model.scoring.evaluation import Coverage, evaluate, method_of
from model.scoring.intervals import estimates
from model.scoring.metrics import joint_errors
from model.training.devices import make_fabric
from model.training.loop import build_network
from tasks.convert.cameras import window_starts


def table(starts, clips=None, cameras=None, actions=None):
    count = len(starts)
    return pd.DataFrame(
        {
            "window_id": [f"w{number}" for number in range(count)],
            "clip_id": clips or [0] * count,
            "camera": cameras or [0] * count,
            "yaw_deg": 0.0,
            "start": starts,
            "group": "g",
            "action": actions or ["walking"] * count,
        }
    )


def in_memory(pose_3d, rows, frame_weight=None):
    count, frames = pose_3d.shape[:2]
    weight = torch.ones(count, frames) if frame_weight is None else frame_weight
    pose_2d = torch.cat((pose_3d[..., :2], torch.ones(*pose_3d.shape[:3], 1)), dim=-1)
    return WindowTensors(pose_2d, pose_3d, weight, torch.ones(count), rows, [count])


def poses(count, frames, seed=0):
    drawn = torch.randn(count, frames, 17, 3, generator=torch.Generator().manual_seed(seed))
    return drawn - drawn[:, :, :1]


def network():
    config = NetworkConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)
    return build_network(lambda: PoseNetwork(config), seed=0).eval()


def answering(pred):
    """A lifter that gives these poses, window by window."""
    left = list(pred)
    return lambda pose_2d: torch.stack([left.pop(0) for _ in range(len(pose_2d))])


def test_a_perfect_answer_has_no_error_and_one_that_is_off_has_no_velocity_error():
    target = poses(3, 5)
    windows = in_memory(target, table([0, 5, 10]))
    perfect = evaluate(answering(target), windows, 2).scores
    assert perfect.pop("pck_150") == perfect.pop("auc_150") == 1
    assert perfect == pytest.approx(dict.fromkeys(perfect, 0), abs=1e-3)
    off = evaluate(answering(target + torch.tensor([0.02, 0.048, 0.0])), windows, 2).scores  # metres: scale is 1
    assert off["mpjpe_mm"] == pytest.approx(52, rel=1e-5)
    assert off["mpjve_mm"] == pytest.approx(0, abs=1e-3)
    assert off["auc_150"] == pytest.approx(20 / 31)  # thresholds 55, 60, ..., 150 of 0, 5, ..., 150
    assert off["head_mm"] == pytest.approx(52, rel=1e-5)


def test_every_frame_counts_once_with_the_mean_over_the_windows_that_cover_it():
    long = poses(1, 8)[0]  # windows of 5 frames at 0, 2, 3: frames 0-7, the middle ones twice or three times
    starts = [0, 2, 3]
    target = torch.stack([long[start : start + 5] for start in starts])
    pred = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    scores = evaluate(answering(pred), in_memory(target, table(starts)), 2)
    errors_mm = 1000 * (pred - target).norm(dim=-1)  # (3, 5, 17)
    steps_mm = 1000 * (pred.diff(dim=1) - target.diff(dim=1)).norm(dim=-1).mean(dim=-1)
    of_frames = [
        torch.stack([errors_mm[w, f - s] for w, s in enumerate(starts) if s <= f < s + 5]).mean(dim=0) for f in range(8)
    ]
    of_pairs = [
        torch.stack([steps_mm[w, f - s] for w, s in enumerate(starts) if s <= f < s + 4]).mean() for f in range(7)
    ]
    assert scores.frames == 8
    assert scores.scores["mpjpe_mm"] == pytest.approx(float(torch.stack(of_frames).mean()), rel=1e-5)
    assert scores.scores["mpjve_mm"] == pytest.approx(float(torch.stack(of_pairs).mean()), rel=1e-5)
    per_joint = torch.stack(of_frames).mean(dim=0)
    assert [scores.scores[name] for name in JOINT_COLUMNS.values()] == pytest.approx(per_joint.tolist(), rel=1e-5)
    share = 1 / torch.tensor([[1, 1, 2, 3, 3], [2, 3, 3, 2, 2], [3, 3, 2, 2, 1]])  # of each window's frames
    assert scores.errors["frames"].tolist() == [5, 5, 5]
    assert scores.errors["weight"].tolist() == pytest.approx(share.sum(dim=1).tolist())
    of_windows = (errors_mm.mean(dim=-1) * share).sum(dim=1) / share.sum(dim=1)
    assert scores.errors["mpjpe_mm"].tolist() == pytest.approx(of_windows.tolist(), rel=1e-5)
    for name in ("mpjpe_mm", "p_mpjpe_mm"):
        mean = np.average(scores.errors[name], weights=scores.errors["weight"])
        assert scores.scores[name] == pytest.approx(mean, rel=1e-9)


def test_frames_of_other_clips_and_cameras_are_other_frames():
    rows = table([0, 2, 0, 2, 0], clips=[7, 7, 7, 7, 9], cameras=[0, 0, 1, 1, 0])
    coverage = Coverage(rows, 4)
    assert coverage.of(slice(0, 2)).tolist() == [[1, 1, 2, 2], [2, 2, 1, 1]]
    assert coverage.of(slice(2, 5)).tolist() == [[1, 1, 2, 2], [2, 2, 1, 1], [1, 1, 1, 1]]
    assert coverage.of(slice(0, 5), 1).tolist() == [[1, 1, 2], [2, 1, 1], [1, 1, 2], [2, 1, 1], [1, 1, 1]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 12), st.integers(1, 14), st.randoms())
def test_coverage_counts_the_windows_of_every_frame_and_padding_lies_over_none(lengths, window, stride, random):
    cut = [(clip, start) for clip, n in enumerate(lengths) for start in window_starts(n, window, stride, pad=True)]
    random.shuffle(cut)
    clips, starts = map(list, zip(*cut, strict=True))
    coverage, every = Coverage(table(starts, clips), window), slice(0, len(cut))
    for counted, count in ((coverage.of(every), window), (coverage.of(every, 1), window - 1)):
        windows_over = Counter((clip, start + t) for clip, start in cut for t in range(count))
        assert counted.tolist() == [[windows_over[clip, start + t] for t in range(count)] for clip, start in cut]
        assert {n for (clip, frame), n in windows_over.items() if frame >= lengths[clip]} <= {1}


def test_padding_counts_nothing():
    target = poses(2, 6)
    weight = torch.ones(2, 6)
    weight[1, 4:] = 0
    rows = table([0, 0], clips=[0, 1], actions=["run", "sit"])
    pred = target + 0.01
    scores = evaluate(answering(pred), in_memory(target, rows, weight), 1)
    assert scores.errors["frames"].tolist() == scores.errors["weight"].tolist() == [6, 4]
    pred[1, 4:] += 100
    again = evaluate(answering(pred), in_memory(target, rows, weight), 1)
    assert again.scores == scores.scores
    assert again.errors.equals(scores.errors)
    assert again.frames == 10
    means = {name: score.value for name, score in estimates(again.errors).per_action_mm.items()}
    assert means == pytest.approx(dict.fromkeys(("run", "sit"), 10 * np.sqrt(3)), rel=1e-4)


def test_single_frames_have_no_velocity_error_and_pairs_no_acceleration_error():
    for frames in (1, 2):
        target = poses(3, frames)
        pred = target + poses(3, frames, seed=1) / 100
        done = evaluate(answering(pred), in_memory(target, table([0, frames, 2 * frames])), 2)
        assert done.frames == 3 * frames
        assert (done.scores["mpjve_mm"] > 0) == (frames == 2)
        assert done.scores["accel_mm"] == done.errors["triple_weight"].sum() == 0


def test_the_error_table_and_the_curve_hold_every_score():
    target = poses(4, 7)
    pred = target + poses(4, 7, seed=1) / 10
    rows = table([0, 3, 6, 0], clips=[0, 0, 0, 1])
    done = evaluate(answering(pred), in_memory(target, rows), 3)
    for name, score in done.scores.items():
        mean = np.average(done.errors[name], weights=done.errors[weight_column(name)])
        assert mean == pytest.approx(score, rel=1e-9), name
    at = dict(zip(PCK_CURVE_MM, done.pck_curve, strict=True))
    assert at[150] == pytest.approx(done.scores["pck_150"])
    assert np.mean([share for limit, share in at.items() if limit <= 150]) == pytest.approx(done.scores["auc_150"])
    assert list(at.values()) == sorted(at.values())
    alone = evaluate(answering(pred[3:]), in_memory(target[3:], rows[3:]), 3).scores
    for name, order in (("mpjve_mm", 1), ("accel_mm", 2)):
        steps = (1000 * poses.diff(dim=0, n=order) for poses in (pred[3], target[3]))
        assert alone[name] == pytest.approx(float(joint_errors(*steps).mean()), rel=1e-5)


def test_flip_averaging_is_the_mean_with_the_mirror_image():
    pose_2d = torch.rand(3, 9, 17, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, flipped = (
            root_relative(network()(pose_2d)),
            mirror(root_relative(network()(mirror(pose_2d)))),
        )
    fabric = make_fabric(Runtime(accelerator="cpu"), "32-true")
    torch.testing.assert_close(method_of(Lifter(network(), 9, flip=False), fabric)(pose_2d), plain)
    both = method_of(Lifter(network(), 9), fabric)
    torch.testing.assert_close(both(pose_2d), (plain + flipped) / 2)
    torch.testing.assert_close(mirror(both(mirror(pose_2d))), both(pose_2d))


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests/model/scoring"]
from test_evaluation import score_all
score_all({windows!r}, {out!r})
"""
BATCH_SIZES = (13, 15, 1000)  # 103 windows: in 8 batches, in 7, and in one, so that the second process has none


def score_all(windows, out):
    """Scores of one network by batch size, a file for each process."""
    fabric = make_fabric(Runtime(accelerator="cpu", threads=1), "32-true")
    val = load_windows(Path(windows), "val")
    lifter = method_of(Lifter(network(), 9), fabric)
    for size in BATCH_SIZES:
        done = evaluate(lifter, val, size, fabric)
        file = Path(out, f"{size}-of-{fabric.world_size}-{fabric.global_rank}.json")
        file.write_text(json.dumps([done.scores, done.frames, done.errors.to_dict("list")]))


def test_two_processes_get_the_scores_of_one(windows_folder, tmp_path):
    script = tmp_path / "score.py"
    script.write_text(
        SCRIPT.format(root=str(Path(__file__).parents[3]), windows=str(windows_folder), out=str(tmp_path))
    )
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([sys.executable, *launch, script], check=True, timeout=600)  # a minute on a busy machine
    score_all(windows_folder, tmp_path)
    for size in BATCH_SIZES:
        alone, first, second = (
            json.loads((tmp_path / f"{size}-of-{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
        )
        assert first == second
        assert first[1] == alone[1]
        for found, expected in ((first[0], alone[0]), (first[2], alone[2])):
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                text = isinstance(value, list) and isinstance(value[0], str)
                assert found[name] == (value if text else pytest.approx(value, rel=1e-6)), name
