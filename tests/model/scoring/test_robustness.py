"""Scores on windows as detectors would show them."""

import pandas as pd
import pytest
import torch

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import Runtime
from model.data.loading import WindowTensors
from model.scoring.evaluation import conditions, evaluate, evenly_drawn, score_robustness
from model.training.devices import make_fabric

DETECTORS = [name.value for name in Detector if name is not Detector.H36M17]
CPU = make_fabric(Runtime(accelerator="cpu"), "32-true")


def windows(count=50, frames=6):
    """Flat poses, whose 2D is their x and y: an answer with z 0 is right."""
    pose_3d = torch.randn(count, frames, 17, 3, generator=torch.Generator().manual_seed(2)) * 0.4
    pose_3d[..., 2] = 0
    pose_3d -= pose_3d[:, :, :1].clone()
    low, high = pose_3d[..., :2].amin(dim=(1, 2)), pose_3d[..., :2].amax(dim=(1, 2))
    scale = 2 / (high - low).amax(dim=1)
    xy = (pose_3d[..., :2] - ((low + high) / 2)[:, None, None]) * scale.view(-1, 1, 1, 1)
    rows = pd.DataFrame(
        {
            "window_id": [f"w{number}" for number in range(count)],
            "clip_id": range(count),
            "camera": 0,
            "yaw_deg": 0.0,
            "start": 0,
            "group": "g",
            "action": "walking",
        }
    )
    pose_2d = torch.cat((xy, torch.ones(count, frames, 17, 1)), dim=-1)
    return WindowTensors(pose_2d, pose_3d * scale.view(-1, 1, 1, 1), torch.ones(count, frames), scale, rows, [count])


def flat(pose_2d):
    """The image taken for the pose."""
    xy = pose_2d[..., :2] - pose_2d[:, :, :1, :2]
    return torch.cat((xy, torch.zeros_like(xy[..., :1])), dim=-1)


def test_every_condition_is_scored_and_clean_is_what_evaluation_says():
    scored = score_robustness({"model": flat, "linear": torch.zeros_like}, windows(), 1000, 16, CPU)
    assert scored.windows == 50
    assert list(scored.mpjpe_mm)[:3] == ["clean", "noise", "missing"]
    assert sorted(scored.mpjpe_mm) == sorted(["clean", "noise", "missing", *DETECTORS])
    for name, lifter in {"model": flat, "linear": torch.zeros_like}.items():
        clean = evaluate(lifter, windows(), 16, CPU).scores["mpjpe_mm"]
        assert scored.mpjpe_mm["clean"][name] == pytest.approx(clean, abs=1e-3)
    assert scored.mpjpe_mm["clean"]["model"] == pytest.approx(0, abs=1e-3)
    assert all(errors["model"] > 1 for name, errors in scored.mpjpe_mm.items() if name != "clean")
    same_target = {round(errors["linear"], 3) for errors in scored.mpjpe_mm.values()}
    assert len(same_target) == 1  # in mm the truth is that of H36M, however the window is seen


def test_a_detectors_error_is_the_distance_of_its_joints_from_h36ms():
    some = windows()
    scored = score_robustness({"model": flat}, some, 1000, 16, CPU)
    metres = some.pose_3d / some.scale.view(-1, 1, 1, 1)
    for name in (Detector.COCO17, Detector.HALPE26, Detector.BODY25B):
        shown = torch.from_numpy(SKELETONS[name].derived) @ metres
        expected = 1000 * (shown - shown[:, :, :1] - metres).norm(dim=-1).mean()
        assert scored.mpjpe_mm[name]["model"] == pytest.approx(float(expected), rel=1e-3)


def test_a_fifth_of_the_joints_is_missing():
    missing = next(shown for names, shown in conditions(windows(400)) if names == ["missing"])
    gone = missing.pose_2d[..., 2] == 0
    assert gone.float().mean() == pytest.approx(0.2, abs=0.01)
    assert (missing.pose_2d[gone] == 0).all()


def test_the_same_windows_are_drawn_and_shown_the_same_way_every_time():
    first, second = (score_robustness({"model": flat}, windows(), 20, size, CPU) for size in (7, 32))
    assert first.windows == 20
    for name, errors in first.mpjpe_mm.items():
        assert second.mpjpe_mm[name]["model"] == pytest.approx(errors["model"], rel=1e-6)
    drawn = evenly_drawn(windows(), 20)
    assert drawn.rows["window_id"].iloc[[0, -1]].tolist() == ["w0", "w49"]
    assert drawn.rows["clip_id"].diff().dropna().between(2, 3).all()
    places = drawn.rows["clip_id"].tolist()
    assert torch.equal(drawn.pose_3d, windows().pose_3d[places])
