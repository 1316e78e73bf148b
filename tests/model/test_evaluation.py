import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data_contracts.parameters import DSTformerConfig, Runtime
from model.batches import mirror
from model.devices import make_fabric
from model.dstformer import DSTformer
from model.evaluation import Covering, evaluate, network_lifter
from model.lifting import lift
from model.windows import WindowTensors


def table(starts, clips=None, cameras=None, actions=None):
    count = len(starts)
    return pd.DataFrame(
        {
            "window_id": [f"w{number}" for number in range(count)],
            "clip_id": clips or [0] * count,
            "camera": cameras or [0] * count,
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


def answering(pred):
    """A lifter that gives these poses, window by window."""
    left = list(pred)
    return lambda pose_2d: torch.stack([left.pop(0) for _ in range(len(pose_2d))])


def test_a_perfect_answer_has_no_error_and_one_that_is_off_has_no_velocity_error():
    target = poses(3, 5)
    windows = in_memory(target, table([0, 5, 10]))
    perfect = evaluate(answering(target), windows, 2).scores.headline()
    assert perfect.pop("pck_150") == perfect.pop("auc_150") == 1
    assert perfect == pytest.approx(dict.fromkeys(perfect, 0), abs=1e-3)
    off = evaluate(answering(target + torch.tensor([0.02, 0.048, 0.0])), windows, 2).scores  # metres: scale is 1
    assert off.mpjpe_mm == pytest.approx(52, rel=1e-5)
    assert off.mpjve_mm == pytest.approx(0, abs=1e-3)
    assert off.auc_150 == pytest.approx(20 / 31)  # thresholds 55, 60, ..., 150 of 0, 5, ..., 150
    assert off.per_joint_mm["head"] == pytest.approx(52, rel=1e-5)


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
    assert scores.scores.mpjpe_mm == pytest.approx(float(torch.stack(of_frames).mean()), rel=1e-5)
    assert scores.scores.mpjve_mm == pytest.approx(float(torch.stack(of_pairs).mean()), rel=1e-5)
    per_joint = torch.stack(of_frames).mean(dim=0)
    assert list(scores.scores.per_joint_mm.values()) == pytest.approx(per_joint.tolist(), rel=1e-5)
    assert scores.errors["frames"].tolist() == [5, 5, 5]
    assert scores.errors["mpjpe_mm"].tolist() == pytest.approx(errors_mm.mean(dim=(1, 2)).tolist(), rel=1e-5)


def test_frames_of_other_clips_and_cameras_are_other_frames():
    rows = table([0, 2, 0, 2, 0], clips=[7, 7, 7, 7, 9], cameras=[0, 0, 1, 1, 0])
    covering = Covering(rows, 4)
    assert covering.frames(slice(0, 2)).tolist() == [[1, 1, 2, 2], [2, 2, 1, 1]]
    assert covering.frames(slice(2, 5)).tolist() == [[1, 1, 2, 2], [2, 2, 1, 1], [1, 1, 1, 1]]
    assert covering.pairs(slice(0, 5)).tolist() == [[1, 1, 2], [2, 1, 1], [1, 1, 2], [2, 1, 1], [1, 1, 1]]


def test_padding_counts_nothing():
    target = poses(2, 6)
    weight = torch.ones(2, 6)
    weight[1, 4:] = 0
    rows = table([0, 0], clips=[0, 1], actions=["run", "sit"])
    pred = target + 0.01
    scores = evaluate(answering(pred), in_memory(target, rows, weight), 1)
    pred[1, 4:] += 100
    again = evaluate(answering(pred), in_memory(target, rows, weight), 1)
    assert again.scores == scores.scores
    assert again.frames == 10
    assert again.scores.per_action_mm == pytest.approx(dict.fromkeys(("run", "sit"), 10 * np.sqrt(3)), rel=1e-4)


def test_flip_averaging_is_the_mean_with_the_mirror_image():
    torch.manual_seed(0)
    network = DSTformer(DSTformerConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)).eval()
    pose_2d = torch.rand(3, 9, 17, 3)
    with torch.no_grad():
        plain, flipped = lift(network, pose_2d), mirror(lift(network, mirror(pose_2d)))
    fabric = make_fabric(Runtime(accelerator="cpu"), "32-true")
    torch.testing.assert_close(network_lifter(network, fabric, flip=False)(pose_2d), plain)
    both = network_lifter(network, fabric, flip=True)
    torch.testing.assert_close(both(pose_2d), (plain + flipped) / 2)
    torch.testing.assert_close(mirror(both(mirror(pose_2d))), both(pose_2d))


SHARED_OUT = """
import json, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from model.baselines import mean_depth
from model.devices import make_fabric
from data_contracts.parameters import Runtime
from model.evaluation import evaluate
from model.windows import load_windows
fabric = make_fabric(Runtime(accelerator="cpu", threads=1), "32-true")
train, val = (load_windows(Path({windows!r}), split) for split in ("train", "val"))
assert fabric.world_size == {processes}
done = evaluate(mean_depth(train), val, {batch}, fabric)
Path({out!r}, f"{{fabric.global_rank}}.json").write_text(
    json.dumps([done.scores.model_dump(), done.frames, done.errors.drop(columns="window_id").to_dict("list")])
)
"""


def test_two_processes_get_the_scores_of_one(windows_folder, tmp_path):
    found = {}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        script = out / "score.py"
        root = str(Path(__file__).parent.parent.parent)
        script.write_text(
            SHARED_OUT.format(root=root, windows=str(windows_folder), processes=processes, batch=13, out=str(out))
        )
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes == 2 else []
        subprocess.run([sys.executable, *launch, script], check=True, timeout=120)
        found[processes] = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
    (alone,), (first, second) = found[1], found[2]
    assert first == second
    assert first[1] == alone[1]
    assert first[2].keys() == alone[2].keys()
    for name, values in alone[2].items():
        assert first[2][name] == (pytest.approx(values, rel=1e-6) if name.endswith("mm") else values)
    for name, value in alone[0].items():
        assert first[0][name] == pytest.approx(value, rel=1e-6)
