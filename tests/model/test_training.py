"""Training: loss, windows, bad steps, memory, compilation and what is stored."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors import safe_open

from data_contracts.errors import InputError
from data_contracts.parameters import (
    AugmentationParameters,
    CorruptionParameters,
    DetectorNoise,
    Objective,
    Runtime,
)
from model.learning.checkpoints import load_network, read_about
from model.learning.devices import make_fabric
from model.learning.stepping import Learner
from model.network.dstformer import DSTformer
from model.training import build_network
from model.windows.epochs import Epochs, TrainingWindows
from model.windows.loading import WindowTensors, some_of
from tests.model.small_runs import CONFIG, EVERYTHING, PARAMETERS, assert_same_weights, learner, train


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_loss_falls(windows, tmp_path, objective, precision):
    parameters = PARAMETERS.model_copy(update={"precision": precision})
    _, history = train(windows, tmp_path / "run", parameters, objective=objective)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["val_mpjpe_mm"] < history[0]["val_mpjpe_mm"]


def test_every_epoch_trained_here_tells_its_speed(windows, tmp_path):
    speeds = []
    train(windows, tmp_path / "run", on_epoch=lambda record: speeds.append(record["windows_per_second"]))
    assert len(speeds) == PARAMETERS.max_epochs
    assert min(speeds) > 0


def test_what_is_validated_and_kept_is_the_average_and_training_goes_on_without_it(windows, tmp_path, uninterrupted):
    plain, plain_history, _ = uninterrupted(windows)
    parameters = PARAMETERS.model_copy(update={"ema": 0.99})
    network, history = train(windows, tmp_path / "run", parameters)
    assert_same_weights(network, plain)
    last, best = history[-1], min(history, key=lambda record: record["val_mpjpe_mm"])
    assert last["loss"] == plain_history[-1]["loss"]
    assert last["val_mpjpe_mm"] != plain_history[-1]["val_mpjpe_mm"]
    kept = load_network(tmp_path / "run" / "model.safetensors")
    again = Learner(kept, parameters, Objective.LIFT, make_fabric(Runtime(accelerator="cpu"), "32-true"))
    sample = windows[0].pick(TrainingWindows(*windows).sampled().tolist())
    for scored, name in ((windows[1], "val_mpjpe_mm"), (sample, "train_mpjpe_mm")):
        assert again.validate(scored)[0] == pytest.approx(best[name], rel=1e-6)
    with safe_open(tmp_path / "run" / "last.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    for name, value in network.named_parameters():
        assert torch.equal(tensors[f"network.{name}"], value), name
        assert not torch.equal(tensors[f"average.weights.{name}"], value), name


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
        train(placed_windows, tmp_path / name, parameters.model_copy(update={"augmentation": made_new}))[1][0]
        for name, made_new in (("plain", AugmentationParameters()), ("augmented", EVERYTHING))
    ]
    assert scores[0]["train_mpjpe_mm"] == pytest.approx(scores[1]["train_mpjpe_mm"], rel=1e-6)
    assert scores[0]["train_mpjpe_mm"] != pytest.approx(scores[0]["val_mpjpe_mm"], rel=1e-6)


@pytest.mark.parametrize("objective", list(Objective))
def test_the_loss_falls_on_windows_made_new(placed_windows, tmp_path, objective):
    parameters = PARAMETERS.model_copy(update={"augmentation": EVERYTHING})
    _, history = train(placed_windows, tmp_path / "run", parameters, objective=objective)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert history[-1]["val_mpjpe_mm"] < history[0]["val_mpjpe_mm"]


def test_windows_of_2d_alone_are_not_made_new(placed_windows, tmp_path):
    """Their 3D is unknown, and they are loaded without their places."""
    only_2d = without_3d(placed_windows[0])
    parameters = PARAMETERS.model_copy(update={"augmentation": EVERYTHING, "max_epochs": 1})
    _, history = train((*placed_windows, only_2d), tmp_path / "run", parameters)
    assert history[0]["bad_steps"] == 0
    assert np.isfinite(history[0]["loss"])


class Failing(DSTformer):
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
    order = windows[0].order(parameters.seed, 0)[3 * 16 : 4 * 16]
    first = windows[0].rows["window_id"].iloc[int(order[0])]
    with pytest.raises(
        InputError, match=rf"3 steps in a row, up to step 4 of epoch 1, on windows {first}, .* and 6 more"
    ):
        train(windows, tmp_path / "run", parameters, failing(range(2, 100), lambda pose: pose * torch.inf))


def out_of_memory(_):
    raise torch.OutOfMemoryError("no memory")


def test_out_of_memory_goes_on_with_smaller_micro_batches_once(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1})
    _, whole = train(windows, tmp_path / "whole", parameters)
    _network, history = train(windows, tmp_path / "run", parameters, failing({3}, out_of_memory))
    assert history[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-4)
    assert read_about(tmp_path / "run" / "last.safetensors")["micro_batch"] == 8
    with pytest.raises(InputError, match="out of memory on cpu at 8 windows a micro-batch; pass a smaller batch_size"):
        train(windows, tmp_path / "twice", parameters, failing({3, 9}, out_of_memory))


def test_the_size_of_a_micro_batch_changes_no_result(windows, tmp_path):
    corruption = CorruptionParameters(joint_share=0.2, frame_share=0.1, noise=DetectorNoise(), skeletons_share=0.5)
    parameters = PARAMETERS.model_copy(update={"corruption": corruption, "max_epochs": 1, "loss_on": "masked"})
    sizes = ({"batch_size": 32}, {"batch_size": 8, "accumulate": 4, "gradient_checkpointing": True})
    (whole,), (parts,) = (
        train(windows, tmp_path / f"{number}", parameters.model_copy(update=size), learner(dropout=0.3))[1]
        for number, size in enumerate(sizes)
    )
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)


def test_dropout_is_of_training_alone_and_not_of_what_is_frozen(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1, "learning_rate": 1e-12})
    (plain,), (dropped,) = (
        train(windows, tmp_path / f"{share}", parameters, learner_that_answers(share))[1] for share in (0.0, 0.5)
    )
    assert dropped["loss"] != pytest.approx(plain["loss"], rel=1e-6)
    for name in ("val_mpjpe_mm", "train_mpjpe_mm"):
        assert dropped[name] == pytest.approx(plain[name], rel=1e-6)
    frozen = learner(dropout=0.5)
    frozen.backbone.requires_grad_(False)
    assert frozen.draw_kept(3, torch.Generator()) is None


def learner_that_answers(dropout):
    """Its head moved from the zeros it begins with, so that features matter."""
    network = learner(dropout=dropout)
    with torch.no_grad():
        network.head.poses.weight += 0.01
        network.head.from_stem.weight += 0.01
    return network


def test_a_token_for_masked_joints_is_learned(windows, tmp_path):
    parameters = PARAMETERS.model_copy(
        update={"corruption": CorruptionParameters(joint_share=0.2, fill="token"), "max_epochs": 1, "accumulate": 2}
    )
    network = build_network(lambda: DSTformer(CONFIG.model_copy(update={"mask_token": True})), 0)
    train(windows, tmp_path / "run", parameters, network)
    assert network.backbone.mask_token.abs().min() > 0
    assert torch.equal(
        load_network(tmp_path / "run" / "last.safetensors").backbone.mask_token, network.backbone.mask_token
    )


def test_windows_whose_2d_alone_is_used_join_after_the_epochs_of_the_curriculum(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"epochs_3d": 1, "max_epochs": 2})
    unknown = without_3d(windows[0])
    _, plain = train(windows, tmp_path / "plain", parameters)
    _network, joined = train((*windows, unknown), tmp_path / "joined", parameters)
    assert joined[0] == plain[0]
    assert joined[1]["step"] - joined[0]["step"] == 2 * (plain[1]["step"] - plain[0]["step"])
    assert joined[1]["bad_steps"] == 0  # their 3D was not looked at
    assert joined[1] != plain[1]


@pytest.mark.parametrize("of_2d", [16, 40, 200])
def test_steps_of_2d_alone_are_spread_among_the_others_and_no_more_than_they(windows, of_2d):
    """From any step on they are the same, as a run that is resumed needs them."""
    train, val = windows
    unknown = without_3d(some_of(train, [place % len(train) for place in range(of_2d)]))
    parameters = PARAMETERS.model_copy(update={"epochs_3d": 1, "batch_size": 8, "flip": True})
    epochs = Epochs(TrainingWindows(train, val, unknown), parameters)
    of_3d, device = math.ceil(len(train) / 8), torch.device("cpu")
    whole = list(epochs.steps(1, 0, device))
    kinds = [step.only_2d for step in whole]
    assert kinds.count(False) == of_3d
    assert kinds.count(True) == min(of_3d, math.ceil(of_2d / 8))
    assert all(not (before and after) for before, after in pairwise(kinds))
    assert epochs.steps_before(2) == of_3d + len(whole)
    assert not any(step.only_2d for step in epochs.steps(0, 0, device))
    for start in (1, len(whole) - 1):
        later = list(epochs.steps(1, start, device))
        assert [step.places.tolist() for step in later] == [step.places.tolist() for step in whole[start:]]
        assert all(torch.equal(a.windows.pose_2d, b.windows.pose_2d) for a, b in zip(later, whole[start:], strict=True))


def without_3d(windows):
    unknown = windows.pose_3d * torch.nan
    return WindowTensors(
        windows.pose_2d, unknown, windows.frame_weight, windows.scale, windows.rows, windows.row_groups
    )


def test_a_network_that_does_not_compile_is_trained_as_it_is(windows, tmp_path, monkeypatch, caplog):
    def broken(network):
        raise RuntimeError("no compiler\nmore about that")

    monkeypatch.setattr("torch.compile", broken)
    parameters = PARAMETERS.model_copy(update={"max_epochs": 1})
    _, history = train(windows, tmp_path / "run", parameters, runtime=Runtime(accelerator="cpu", compile="on"))
    assert "torch.compile failed, training goes on without it: no compiler" in caplog.text
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
