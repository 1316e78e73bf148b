import threading
import time
from itertools import islice

import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.parameters import (
    AugmentationParameters,
    CorruptionParameters,
    DetectorNoise,
    NetworkConfig,
    NewBodies,
    NewCameras,
    Objective,
    Runtime,
    TrainingParameters,
)
from model.baselines.linear import fit_linear, fit_mean_depth
from model.data import seeding
from model.data.loading import TrainingWindows, load_windows
from model.data.seeding import pools_in_order, shuffled_pools, window_bytes
from model.network.network import PoseNetwork
from model.scoring.evaluation import evaluate
from model.training.devices import make_fabric
from model.training.loop import build_network, fit

STREAM = 1e-9  # gigabytes
EVERYTHING = AugmentationParameters(
    limbs_share=0.5, bone_turn_deg=5, bodies=NewBodies(), tilt_deg=5, cameras=NewCameras(perspective_share=0.5)
)


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    """Pools of 64 windows of 9 frames: about five in an epoch of the training windows."""
    monkeypatch.setattr(seeding, "POOL_BYTES", 64 * window_bytes(9))


@pytest.fixture(params=[False, True], ids=["", "placed"])
def both(windows_folder, request):
    placed = request.param
    return tuple(load_windows(windows_folder, "train", memory_gb, placed=placed) for memory_gb in (None, STREAM))


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-windows")]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for name, tensor in vars(batch).items():
            same = getattr(other, name)
            assert tensor is same is None or torch.equal(tensor, same), name


def test_every_window_is_in_the_pools_once_and_no_pool_is_too_large():
    row_groups = [7, 30, 1, 64, 20, 20, 90, 3]
    for pools in (shuffled_pools(row_groups, 9, 0, 0), pools_in_order(row_groups, 9)):
        assert sorted(group for pool in pools for group in pool.groups) == list(range(len(row_groups)))
        for pool in pools:
            rows = sum(row_groups[group] for group in pool.groups)
            assert rows <= 64 or len(pool.groups) == 1
            assert sorted(pool.order.tolist()) == list(range(rows))
    assert torch.cat([pool.order for pool in pools_in_order([5, 6], 9)]).tolist() == list(range(11))


@pytest.mark.parametrize("size", [16, 50, 64, 100, 1000])
def test_streamed_batches_are_those_of_memory_to_the_bit(both, size):
    memory, streamed = both
    for epoch in (0, 1):
        assert len(shuffled_pools(memory.row_groups, 9, 3, epoch)) > 3
        assert_same(list(memory.steps(3, epoch, size)), list(streamed.steps(3, epoch, size)))
        assert_same(list(memory.steps(3, epoch, size, 1)), list(streamed.steps(3, epoch, size, 1)))
    assert_same(list(memory.batches(size)), list(streamed.batches(size)))
    assert_same([memory.pick([0, 200, 31, 294])], [streamed.pick([0, 200, 31, 294])])
    assert memory.rows.equals(streamed.rows)
    assert (len(memory), memory.window) == (len(streamed), streamed.window)


def test_an_epoch_feeds_every_window_once_in_an_order_of_its_own(both):
    memory, streamed = both
    everything = sorted(window.numpy().tobytes() for window in memory.pose_2d)
    orders = []
    for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0)):
        batches = list(streamed.steps(seed, epoch, 32))
        assert [len(batch) for batch in batches] == [32] * (len(memory) // 32) + [len(memory) % 32]
        orders.append(torch.cat([batch.pose_2d for batch in batches]))
        assert sorted(window.numpy().tobytes() for window in orders[-1]) == everything
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[3])


@pytest.mark.parametrize("start_step", [0, 1, 4, 9, 18, 19, 30])
def test_an_epoch_can_begin_at_any_step_and_reads_no_pool_before_it(both, start_step, monkeypatch):
    memory, streamed = both
    whole, read = list(memory.steps(0, 0, 16)), []
    original = streamed._read
    monkeypatch.setattr(streamed, "_read", lambda pool, stopped: read.append(pool) or original(pool, stopped))
    assert_same(whole[start_step:], list(streamed.steps(0, 0, 16, start_step)))
    assert_same(whole[start_step:], list(memory.steps(0, 0, 16, start_step)))
    ends = torch.tensor([len(pool.order) for pool in shuffled_pools(memory.row_groups, 9, 0, 0)]).cumsum(0)
    assert len(read) == int((ends > 16 * start_step).sum())


@pytest.mark.parametrize("augmentation", [AugmentationParameters(), EVERYTHING])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_ends_with_the_same_weights_streamed_or_not(windows_folder, tmp_path, accumulate, augmentation):
    parameters = TrainingParameters(
        batch_size=16,
        accumulate=accumulate,
        max_epochs=2,
        flip=True,
        augmentation=augmentation,
        corruption=CorruptionParameters(joint_share=0.05, noise=DetectorNoise(std=(0.01,))),
    )
    fitted = []
    for memory_gb in (None, STREAM):
        folder = tmp_path / str(memory_gb)
        folder.mkdir()
        train = load_windows(windows_folder, "train", memory_gb, placed=augmentation.wanted)
        splits = [train, load_windows(windows_folder, "val", memory_gb)]
        config = NetworkConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)
        network = build_network(lambda config=config: PoseNetwork(config), 0)
        fabric = make_fabric(Runtime(accelerator="cpu"), "32-true")
        none = lambda *_: None  # noqa: E731
        progress = fit(
            network, TrainingWindows(*splits), parameters, Objective.LIFT, folder, fabric, Runtime(), none, none
        )
        fitted.append((network.state_dict(), progress.history))
    (weights, history), (other_weights, other_history) = fitted
    assert history == other_history
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name
    assert not readers()


def test_baselines_and_scores_are_the_same_streamed_or_not(windows_folder):
    scores = []
    for memory_gb in (None, STREAM):
        train, val = (load_windows(windows_folder, split, memory_gb) for split in ("train", "val"))
        ridge, alpha = fit_linear(train, val)
        evaluations = [evaluate(lifter, val, batch_size=48) for lifter in (ridge, fit_mean_depth(train))]
        scores.append((alpha, [evaluation.scores for evaluation in evaluations]))
        errors = evaluations[0].errors
    assert scores[0][0] == scores[1][0]
    for memory, streamed in zip(scores[0][1], scores[1][1], strict=True):
        assert streamed == pytest.approx(memory, rel=1e-6)
    assert errors["window_id"].tolist() == val.rows["window_id"].tolist()


def test_the_thread_is_one_pool_ahead_and_ends_when_the_learner_stops(both, monkeypatch):
    _, streamed = both
    read, original = [], streamed._read
    monkeypatch.setattr(streamed, "_read", lambda pool, stopped: read.append(pool) or original(pool, stopped))
    steps = streamed.steps(0, 0, 8)
    list(islice(steps, 3))
    time.sleep(0.3)
    assert len(read) == 2
    assert readers()
    steps.close()
    assert not readers()


def test_a_thread_in_the_middle_of_a_pool_stops_at_the_next_row_group(both, monkeypatch):
    _, streamed = both
    files, reading = streamed._files, []
    original = files._read_group

    def slowly(group, out):
        reading.append(group)
        if len(reading) > len(shuffled_pools(files.row_groups, 9, 0, 0)[0].groups):
            time.sleep(0.2)
        original(group, out)

    monkeypatch.setattr(files, "_read_group", slowly)
    steps = streamed.steps(0, 0, 8)
    next(steps)
    time.sleep(0.05)
    begun = len(reading)
    steps.close()
    assert len(reading) <= begun + 1
    assert not readers()


def test_a_file_that_breaks_while_it_is_read_is_named_and_leaves_no_thread(windows_folder):
    streamed = load_windows(windows_folder, "train", STREAM)
    file = windows_folder / "train" / "part-00001.parquet"
    content = bytearray(file.read_bytes())
    content[4:-2000] = bytes(len(content) - 2004)  # the footer stays
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"train/part-00001\.parquet: cannot be read"):
        list(streamed.steps(0, 0, 16))
    assert not readers()
    file.unlink()
    with pytest.raises(InputError, match=r"part-00001\.parquet: cannot be read"):
        list(streamed.batches(16))
    assert not readers()
