"""The example of the README is what its command writes, and the lifter of the package lifts it to a walking person."""

import json
import sys

import numpy as np
import pytest

from data_contracts.motion.motion import read_motion
from data_contracts.skeleton import ADULT_BONES_M, BONES, JOINTS, PELVIS
from docs.walking_example import EXAMPLE, FRAMES, detected, walk
from flows.cli import main
from model.lifting.gravity import to_world

HEAD, HIPS, ANKLES = JOINTS.index("head"), (1, 4), (3, 6)  # right, left


@pytest.fixture(scope="module")
def true_walk():
    return walk()


def test_the_command_makes_the_committed_file(true_walk):
    made, committed = json.loads(detected(true_walk)), json.loads(EXAMPLE.read_text())
    assert [one["image_id"] for one in made] == [one["image_id"] for one in committed]
    points = [np.array([one["keypoints"] for one in entries]) for entries in (made, committed)]
    np.testing.assert_allclose(*points, atol=0.02)  # pixels; rounded to 0.01


def test_the_example_becomes_a_walking_person_without_a_registry(true_walk, tmp_path, monkeypatch, capsys):
    words = ["lift", str(EXAMPLE), "--fps", "30", "--height", f"{true_walk.height:.2f}"]
    folders = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["uplift", *words, *folders])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "model: shipped (the lifter of this package, because" in capsys.readouterr().out
    assert not (tmp_path / "store" / "mlflow.db").exists()
    motion = read_motion(tmp_path / "out" / "person-0" / "motion.npz")
    joints = motion.joints.astype(float)
    assert len(joints) == FRAMES

    lengths = np.linalg.norm(joints[:, [child for _, child in BONES]] - joints[:, [bone for bone, _ in BONES]], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 0.01
    assert np.abs(lengths.mean(axis=0) / ADULT_BONES_M - 1).max() < 0.4

    height = joints[..., 2]
    assert (height[:, HEAD] > height[:, PELVIS] + 0.3).all()
    assert (height[:, PELVIS] > height[:, ANKLES].max(axis=1) + 0.3).all()
    assert height[:, ANKLES].min(axis=1).max() < 0.25  # one foot is near the floor
    assert height.min() > -0.05

    truth = to_world(true_walk.joints, true_walk.pitch_deg)
    path, true_path = joints[:, PELVIS, :2], truth[:, PELVIS, :2]
    moved, truly_moved = path[-1] - path[0], true_path[-1] - true_path[0]
    assert np.linalg.norm(moved - truly_moved) < 0.25 * np.linalg.norm(truly_moved)
    to_left = joints[:, HIPS[1], :2] - joints[:, HIPS[0], :2]
    ahead = np.stack([to_left[:, 1], -to_left[:, 0]], axis=-1)
    assert (np.einsum("fi,fi->f", ahead[:-1], np.diff(path, axis=0)) > 0).mean() > 0.9  # nobody walks backwards
    assert np.linalg.norm(joints - joints[:, [PELVIS]] - (truth - truth[:, [PELVIS]]), axis=-1).mean() < 0.12
