"""Training: loss, windows, bad steps, memory, compilation and what is stored."""

import math

import numpy as np
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.parameters import AugmentationParameters, CorruptionParameters, DetectorNoise, Objective, Runtime
from model.data.loading import Epochs, TrainingWindows
from model.data.seeding import order_of
from model.network.network import PoseNetwork
from model.training.checkpoints import load_network, read_about
from model.training.loop import build_network
from tests.model.training.small_runs import CONFIG, EVERYTHING, PARAMETERS, learner, train


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_loss_falls_and_every_epoch_tells_its_speed(windows, tmp_path, objective, precision):
    parameters = PARAMETERS.model_copy(update={"precision": precision})
    records = []
    _, history = train(windows, tmp_path / "run", parameters, objective=objective, on_epoch=records.append)
    assert len(records) == PARAMETERS.max_epochs
    assert min(record["windows_per_second"] for record in records) > 0
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["val_mpjpe_mm"] < history[0]["val_mpjpe_mm"]


def test_validation_meets_its_windows_as_they_are_stored(placed_windows, tmp_path):
    """A network that does not learn is scored the same, whatever training windows are made of."""
    parameters = PARAMETERS.model_copy(update={"augmentation": EVERYTHING, "max_epochs": 1, "learning_rate": 1e-12})
    _, history = train(placed_windows, tmp_path / "augmented", parameters)
    plain = parameters.model_copy(update={"augmentation": AugmentationParameters()})
    _, unchanged = train(placed_windows, tmp_path / "plain", plain)
    assert history[0]["val_mpjpe_mm"] == pytest.approx(unchanged[0]["val_mpjpe_mm"], rel=1e-6)
    assert history[0]["loss"] != pytest.approx(unchanged[0]["loss"], rel=1e-3)


def test_training_windows_are_scored_as_they_are_stored(placed_windows, tmp_path):
    """A network that does not learn is scored the same, whatever training windows are made of."""
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1, "learning_rate": 1e-12, "flip": False})
    scores = [
        train(placed_windows, tmp_path / name, parameters.model_copy(update={"augmentation": augmentation}))[1][0]
        for name, augmentation in (("plain", AugmentationParameters()), ("augmented", EVERYTHING))
    ]
    assert scores[0]["train_mpjpe_mm"] == pytest.approx(scores[1]["train_mpjpe_mm"], rel=1e-6)
    assert scores[0]["train_mpjpe_mm"] != pytest.approx(scores[0]["val_mpjpe_mm"], rel=1e-6)


@pytest.mark.parametrize("objective", list(Objective))
def test_the_loss_falls_on_augmented_windows(placed_windows, tmp_path, objective):
    parameters = PARAMETERS.model_copy(update={"augmentation": EVERYTHING})
    _, history = train(placed_windows, tmp_path / "run", parameters, objective=objective)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert history[-1]["val_mpjpe_mm"] < history[0]["val_mpjpe_mm"]


class Failing(PoseNetwork):
    """Fails as told in its `at`-th forward passes."""

    calls, at, how = 0, (), None

    def forward(self, *inputs):
        self.calls += 1
        pose = super().forward(*inputs)
        return self.how(pose) if self.calls in self.at else pose


def failing(at, how):
    network = build_network(lambda: Failing(CONFIG), 0)
    network.at, network.how = at, how
    return network


def test_a_step_that_is_not_finite_is_skipped_and_counted(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1})
    network, history = train(windows, tmp_path / "run", parameters, failing({2, 3}, lambda pose: pose * torch.nan))
    assert history[0]["bad_steps"] == 2
    assert np.isfinite(history[0]["loss"])
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_too_many_bad_steps_in_a_row_end_the_run_with_the_windows_named(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_bad_steps": 3})
    order = order_of(windows[0].row_groups, 9, parameters.seed, 0)[3 * 16 : 4 * 16]
    first = windows[0].rows["window_id"].iloc[int(order[0])]
    with pytest.raises(InputError, match=rf"3 steps in a row, up to step 4 of epoch 1, windows {first}, .* and 6 more"):
        train(windows, tmp_path / "run", parameters, failing(range(2, 100), lambda pose: pose * torch.inf))


def out_of_memory(_):
    raise torch.OutOfMemoryError("no memory")


def test_out_of_memory_goes_on_with_smaller_micro_batches_once(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1})
    _, whole = train(windows, tmp_path / "whole", parameters)
    _network, history = train(windows, tmp_path / "run", parameters, failing({3}, out_of_memory))
    assert history[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-4)
    assert read_about(tmp_path / "run" / "last.safetensors")["micro_batch"] == 8
    with pytest.raises(InputError, match="out of memory on cpu at 8 windows per micro-batch; pass a smaller"):
        train(windows, tmp_path / "twice", parameters, failing({3, 9}, out_of_memory))


def test_the_size_of_a_micro_batch_changes_no_result(windows, tmp_path):
    corruption = CorruptionParameters(joint_share=0.2, frame_share=0.1, noise=DetectorNoise(), skeletons_share=0.5)
    parameters = PARAMETERS.model_copy(update={"corruption": corruption, "max_epochs": 1, "loss_on": "masked"})
    sizes = ({"batch_size": 32}, {"batch_size": 8, "accumulate": 4, "gradient_checkpointing": True})
    (whole,), (parts,) = (
        train(windows, tmp_path / f"{number}", parameters.model_copy(update=size), learner())[1]
        for number, size in enumerate(sizes)
    )
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)


def test_a_token_for_masked_joints_is_learned(windows, tmp_path):
    parameters = PARAMETERS.model_copy(
        update={"corruption": CorruptionParameters(joint_share=0.2, fill="token"), "max_epochs": 1, "accumulate": 2}
    )
    network = build_network(lambda: PoseNetwork(CONFIG.model_copy(update={"mask_token": True})), 0)
    train(windows, tmp_path / "run", parameters, network)
    assert network.backbone.mask_token.abs().min() > 0
    assert torch.equal(
        load_network(tmp_path / "run" / "last.safetensors").backbone.mask_token, network.backbone.mask_token
    )


def test_an_epoch_resumed_at_any_step_has_the_same_steps(windows):
    epochs = Epochs(TrainingWindows(*windows), PARAMETERS.model_copy(update={"batch_size": 8, "flip": True}))
    device = torch.device("cpu")
    whole = list(epochs.steps(1, 0, device))
    assert epochs.steps_before(2) == 2 * len(whole) == 2 * math.ceil(len(windows[0]) / 8)
    for start in (1, len(whole) - 1):
        later = list(epochs.steps(1, start, device))
        assert [step.places.tolist() for step in later] == [step.places.tolist() for step in whole[start:]]
        assert all(torch.equal(a.windows.pose_2d, b.windows.pose_2d) for a, b in zip(later, whole[start:], strict=True))


def test_a_network_that_does_not_compile_is_trained_as_it_is(windows, tmp_path, monkeypatch, caplog):
    def broken(network):
        raise RuntimeError("no compiler\nmore about that")

    monkeypatch.setattr("torch.compile", broken)
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1})
    _, history = train(windows, tmp_path / "run", parameters, runtime=Runtime(accelerator="cpu", compile="on"))
    assert "torch.compile failed, training continues without it: no compiler" in caplog.text
    _, plain = train(windows, tmp_path / "plain", parameters)
    assert history == plain


def test_a_compiled_network_learns_the_same(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1})
    _, history = train(windows, tmp_path / "run", parameters, runtime=Runtime(accelerator="cpu", compile="on"))
    _, plain = train(windows, tmp_path / "plain", parameters)
    assert history[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-4)


def test_the_best_epochs_are_kept_and_the_best_of_them_served(windows, uninterrupted):
    _, history, folder = uninterrupted(windows)
    ranked = sorted(history, key=lambda record: record["val_mpjpe_mm"])
    kept = sorted(path.name for path in folder.glob("top-*"))
    assert kept == sorted(f"top-epoch-{record['epoch']:04d}.safetensors" for record in ranked[:2])
    about = read_about(folder / "model.safetensors")
    assert about == ranked[0] | {"window": 9, "fps": 60.0}


def test_training_stops_when_validation_no_longer_improves(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 50, "patience": 2, "learning_rate": 1.0})
    _, history = train(windows, tmp_path / "run", parameters)
    scores = [record["val_mpjpe_mm"] for record in history]
    assert len(history) < 50
    assert min(scores) == scores[-3]


def test_a_checkpoint_holds_the_network_it_was_made_of(windows, tmp_path):
    network, _ = train(windows, tmp_path / "run", PARAMETERS.model_copy(update={"max_epochs": 1}))
    again = load_network(tmp_path / "run" / "model.safetensors")
    pose_2d = windows[1].pose_2d[:3]
    with torch.no_grad():
        assert torch.equal(again(pose_2d), network.eval()(pose_2d))
