"""Shared inputs: real motion and reference numbers where they are present, else small synthetic motion."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data_contracts.parameters import Projection
from model.windows import WindowTensors
from tasks.cameras import draw_camera, see_windows, window_starts
from tasks.synthetic import generate

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    folder = SHARED / "parity"
    if not folder.is_dir():
        pytest.skip(f"reference numbers are absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def cmu_folder() -> Path:
    folder = SHARED / "data" / "cmu"
    if not folder.is_dir():
        pytest.skip(f"real motion is absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def walking() -> np.ndarray:
    """A clip (frames, 17, 3), world metres."""
    clips, rows = generate(seed=3, people=1, seconds=3.0)
    clip = next(clip for clip, row in zip(clips, rows, strict=True) if row["action"] == "walking")
    return clip.transpose(1, 0, 2).astype(np.float32)


@pytest.fixture
def windows(_windows: tuple[WindowTensors, WindowTensors]) -> tuple[WindowTensors, WindowTensors]:
    """Train and val windows of 9 frames of two groups of people; a copy of its own for every test."""
    return copy.deepcopy(_windows)


@pytest.fixture(scope="session")
def _windows() -> tuple[WindowTensors, WindowTensors]:
    clips, rows = generate(seed=5, people=4, seconds=2.0)
    tables: dict[bool, list[dict[str, np.ndarray]]] = {False: [], True: []}
    for clip_id, (clip, row) in enumerate(zip(clips, rows, strict=True)):
        poses = clip.transpose(1, 0, 2).astype(np.float32)
        camera = draw_camera(poses, clip_id, 0, 0, 10.0, Projection.ORTHOGRAPHIC)
        held_out = row["subject"] == rows[-1]["subject"]
        tables[held_out].append(see_windows(poses, window_starts(len(poses), 9, 9, True), 9, camera))
    train, val = (_tensors(tables[held_out]) for held_out in (False, True))
    return train, val


def _tensors(pieces: list[dict[str, np.ndarray]]) -> WindowTensors:
    arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    scale = torch.from_numpy(arrays["scale"])
    pose_2d = torch.from_numpy(arrays["pose_2d"])
    pose_3d = torch.from_numpy(arrays["pose_3d"]) * scale.view(-1, 1, 1, 1)
    rows = pd.DataFrame(
        {"window_id": [str(i) for i in range(len(scale))], "clip_id": 0, "group": "g", "action": "walking"}
    )
    return WindowTensors(pose_2d, pose_3d, (pose_2d[..., 2] > 0).any(-1).float(), scale, rows)
