"""A run that was stopped ends with the same weights as an uninterrupted run."""

import inspect
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

import model.training.loop as training
from data_contracts.parameters import Objective, Runtime
from model.data.loading import TrainingWindows
from model.network.network import PoseNetwork
from model.training.checkpoints import load_network, read_about
from model.training.loop import build_network, fit
from tests.model.training.small_runs import CONFIG, EVERYTHING, PARAMETERS, Killed, assert_same_weights, learner, train

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("schedule", "killed_at"),
    [("constant", "step 10"), ("cosine", "epoch 2"), ("cosine", "step 11"), ("exponential", "step 10")],
)
def test_a_run_taken_up_again_ends_with_the_same_weights_to_the_bit(
    windows, tmp_path, uninterrupted, schedule, killed_at
):
    parameters = PARAMETERS.model_copy(update={"schedule": schedule})
    assert_taken_up_again(windows, tmp_path, parameters, killed_at, uninterrupted)


@pytest.mark.parametrize("killed_at", ["epoch 2", "step 10"])
def test_a_run_on_augmented_windows_resumes_to_the_bit(placed_windows, tmp_path, uninterrupted, killed_at):
    parameters = PARAMETERS.model_copy(update={"augmentation": EVERYTHING})
    assert_taken_up_again(placed_windows, tmp_path, parameters, killed_at, uninterrupted)


def assert_taken_up_again(windows, tmp_path, parameters, killed_at, uninterrupted):
    whole, history, whole_folder = uninterrupted(windows, parameters)

    def kill(what, at):
        if f"{what} {at}" == killed_at:
            raise Killed

    often = Runtime(accelerator="cpu", checkpoint_minutes=1e-9)
    with pytest.raises(Killed):
        train(
            windows,
            tmp_path / "cut",
            parameters,
            on_epoch=lambda record: kill("epoch", record["epoch"]),
            on_step=lambda step, steps: kill("step", step),
            runtime=often,
        )
    reported = []
    resumed, resumed_history = train(windows, tmp_path / "cut", parameters, on_epoch=reported.append)
    assert resumed_history == [without_speed(record) for record in reported] == history
    assert_same_weights(resumed, whole)
    assert_same_weights(
        load_network(tmp_path / "cut" / "model.safetensors"), load_network(whole_folder / "model.safetensors")
    )


def without_speed(record):
    return {name: value for name, value in record.items() if name != "windows_per_second"}


def test_with_muon_too_a_run_taken_up_again_ends_with_the_same_weights_to_the_bit(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"optimiser": "muon", "schedule": "cosine", "max_epochs": 3})
    whole, history = train(windows, tmp_path / "whole", parameters, learner())

    def kill(step, steps):
        if step == 9:
            raise Killed

    often = Runtime(accelerator="cpu", checkpoint_minutes=1e-9)
    with pytest.raises(Killed):
        train(windows, tmp_path / "cut", parameters, learner(), on_step=kill, runtime=often)
    resumed, resumed_history = train(windows, tmp_path / "cut", parameters, learner(seed=1))
    assert resumed_history == history
    assert history[-1]["loss"] < history[0]["loss"]
    assert_same_weights(resumed, whole)


def test_a_run_killed_during_validation_resumes_with_the_same_result(windows, tmp_path, monkeypatch):
    parameters = PARAMETERS.model_copy(update={"max_epochs": 2})
    whole, history = train(windows, tmp_path / "whole", parameters)
    save = training.save_last

    def killed(folder, network, optimiser, state):
        save(folder, network, optimiser, state)
        if any(frame.function == "validate" for frame in inspect.stack()):
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "save_last", killed)
        train(windows, tmp_path / "cut", parameters, runtime=Runtime(accelerator="cpu", checkpoint_minutes=1e-9))
    assert read_about(tmp_path / "cut" / "last.safetensors")["step"] > 0
    resumed, resumed_history = train(windows, tmp_path / "cut", parameters)
    assert resumed_history == history
    assert_same_weights(resumed, whole)


def test_a_damaged_last_costs_what_came_after_the_one_before(windows, tmp_path, uninterrupted):
    whole, history, _ = uninterrupted(windows)

    def kill(record):
        if record["epoch"] == 3:
            raise Killed

    with pytest.raises(Killed):
        train(windows, tmp_path / "cut", on_epoch=kill)
    last = tmp_path / "cut" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    resumed, resumed_history = train(windows, tmp_path / "cut")
    assert resumed_history == history
    assert_same_weights(resumed, whole)


def test_sigterm_saves_and_ends_the_process(windows, windows_folder, tmp_path, uninterrupted):
    whole, history, _ = uninterrupted(windows)
    (tmp_path / "cut").mkdir()
    script = tmp_path / "train.py"
    script.write_text(
        TRAIN_AND_SEND_SIGTERM.format(root=str(ROOT), folder=str(tmp_path / "cut"), windows=str(windows_folder))
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    assert read_about(tmp_path / "cut" / "last.safetensors")["step"] == 2
    resumed, resumed_history = train(windows, tmp_path / "cut")
    assert resumed_history == history
    assert_same_weights(resumed, whole)


TRAIN_AND_SEND_SIGTERM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from model.data.loading import load_windows
from tests.model.training.small_runs import few, train

def on_step(step, steps):
    if step == 2:
        os.kill(os.getpid(), signal.SIGTERM)

windows = [load_windows(Path({windows!r}), split) for split in ("train", "val")]
train(few(windows), Path({folder!r}), on_step=on_step)
"""


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_half_precision_skips_steps_while_its_scale_is_too_large_and_takes_it_up_again(windows, tmp_path, optimiser):
    """As on CUDA, with CUDA's gradient scaler on the CPU."""

    parameters = PARAMETERS.model_copy(update={"optimiser": optimiser, "max_epochs": 3})

    def fit_half(folder, on_epoch=lambda record: None):
        folder.mkdir(exist_ok=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**21, growth_interval=1000)
        fabric = Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))
        network = build_network(lambda: PoseNetwork(CONFIG), 0)
        opened, runtime = TrainingWindows(*windows), Runtime(accelerator="cpu")
        progress = fit(network, opened, parameters, Objective.LIFT, folder, fabric, runtime, on_epoch, lambda *_: None)
        return network, progress

    whole, progress = fit_half(tmp_path / "whole")
    assert progress.bad_steps > 3
    assert progress.precision["scale"] < 2.0**21
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]

    def kill(record):
        if record["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        fit_half(tmp_path / "cut", kill)
    resumed, again = fit_half(tmp_path / "cut")
    assert again == progress
    assert_same_weights(resumed, whole)
