import copy
import inspect
import math
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors import safe_open

import model.training as training
from data_contracts.errors import InputError
from data_contracts.parameters import (
    AugmentationParameters,
    CorruptionParameters,
    DetectorNoise,
    DSTformerConfig,
    FinetuneParameters,
    HeadKind,
    NewBodies,
    NewCameras,
    Objective,
    Runtime,
    TrainingParameters,
)
from model.learning.checkpoints import load_network, read_about
from model.learning.devices import make_fabric
from model.learning.stepping import Learner
from model.network.dstformer import DSTformer
from model.training import build_network, fit
from model.windows.epochs import Epochs, TrainingWindows
from model.windows.loading import WindowTensors, load_windows, some_of
from tasks.finetune import with_head

ROOT = Path(__file__).parent.parent.parent
CONFIG = DSTformerConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)
LEARNER = DSTformerConfig(
    embed_dim=16,
    heads=2,
    fusion_depth=1,
    max_frames=9,
    patch=3,
    stem="window",
    stem_width=64,
    cosines=4,
    geometry="foreshortening",
)
PARAMETERS = TrainingParameters(
    batch_size=16,
    max_epochs=4,
    learning_rate=3e-3,
    flip=True,
    corruption=CorruptionParameters(joint_share=0.05, noise=DetectorNoise(std=(0.01,))),
    keep_top=2,
)
EVERYTHING = AugmentationParameters(
    limbs_share=0.5, bone_turn_deg=5, bodies=NewBodies(), tilt_deg=5, cameras=NewCameras(perspective_share=0.5)
)


def train(
    windows,
    folder,
    parameters=PARAMETERS,
    network=None,
    objective=Objective.LIFT,
    on_epoch=lambda record: None,
    on_step=lambda step, steps: None,
    runtime=Runtime(accelerator="cpu"),
):
    folder.mkdir(exist_ok=True)
    config = CONFIG if objective is Objective.LIFT else CONFIG.model_copy(update={"dim_out": 2})
    network = network or build_network(lambda: DSTformer(config), 0)
    fabric = make_fabric(runtime, parameters.precision)
    opened = TrainingWindows(*windows)
    progress = fit(network, opened, parameters, objective, folder, fabric, runtime, on_epoch, on_step)
    return network, progress.history


@pytest.fixture(scope="module")
def _runs():
    return {}


@pytest.fixture
def uninterrupted(_runs, tmp_path_factory):
    """Train without a stop, once for each set of parameters; return the network, its history and its folder."""

    def run(windows, parameters=PARAMETERS):
        key = parameters.model_dump_json()
        if key not in _runs:
            folder = tmp_path_factory.mktemp("uninterrupted")
            _runs[key] = (*train(windows, folder, parameters), folder)
        return _runs[key]

    return run


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_loss_falls(windows, tmp_path, objective, precision):
    parameters = PARAMETERS.model_copy(update={"precision": precision})
    _, history = train(windows, tmp_path / "run", parameters, objective=objective)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["val_mpjpe_mm"] < history[0]["val_mpjpe_mm"]


class Killed(BaseException):
    """Stands for a kill: nothing of the loop may catch it."""


@pytest.fixture
def placed_windows(windows_folder):
    """Train windows that can be seen anew, and val windows."""
    return load_windows(windows_folder, "train", placed=True), load_windows(windows_folder, "val")


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
@pytest.mark.parametrize("killed_at", ["epoch 2", "step 13", "step 14"])
def test_a_run_taken_up_again_ends_with_the_same_weights_to_the_bit(
    windows, tmp_path, uninterrupted, schedule, killed_at
):
    parameters = PARAMETERS.model_copy(update={"schedule": schedule})
    assert_taken_up_again(windows, tmp_path, parameters, killed_at, uninterrupted)


@pytest.mark.parametrize("killed_at", ["epoch 2", "step 13"])
def test_a_run_on_windows_made_new_is_taken_up_again_to_the_bit(placed_windows, tmp_path, uninterrupted, killed_at):
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


def test_every_epoch_trained_here_tells_its_speed(windows, tmp_path):
    speeds = []
    train(windows, tmp_path / "run", on_epoch=lambda record: speeds.append(record["windows_per_second"]))
    assert len(speeds) == PARAMETERS.max_epochs
    assert min(speeds) > 0


def learner(seed=0, dropout=0.0):
    config = LEARNER.model_copy(update={"dropout": dropout})
    return build_network(lambda: DSTformer(config, HeadKind.POSE), seed)


def test_with_muon_too_a_run_taken_up_again_ends_with_the_same_weights_to_the_bit(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"optimiser": "muon", "schedule": "cosine", "max_epochs": 3})
    assert_learner_taken_up_again(windows, tmp_path, parameters)


def test_with_dropout_too_a_run_taken_up_again_ends_with_the_same_weights_to_the_bit(windows, tmp_path):
    assert_learner_taken_up_again(windows, tmp_path, PARAMETERS.model_copy(update={"max_epochs": 3}), dropout=0.2)


def assert_learner_taken_up_again(windows, tmp_path, parameters, dropout=0.0):
    whole, history = train(windows, tmp_path / "whole", parameters, learner(dropout=dropout))

    def kill(step, steps):
        if step == 9:
            raise Killed

    often = Runtime(accelerator="cpu", checkpoint_minutes=1e-9)
    with pytest.raises(Killed):
        train(windows, tmp_path / "cut", parameters, learner(dropout=dropout), on_step=kill, runtime=often)
    resumed, resumed_history = train(windows, tmp_path / "cut", parameters, learner(seed=1, dropout=dropout))
    assert resumed_history == history
    assert history[-1]["loss"] < history[0]["loss"]
    assert_same_weights(resumed, whole)


@pytest.mark.parametrize("killed_at", ["epoch 2", "step 13"])
def test_with_an_average_too_a_run_is_taken_up_again_to_the_bit(windows, tmp_path, uninterrupted, killed_at):
    assert_taken_up_again(windows, tmp_path, PARAMETERS.model_copy(update={"ema": 0.9}), killed_at, uninterrupted)


def test_a_run_killed_while_it_validates_the_average_goes_on_from_what_it_learned(windows, tmp_path, monkeypatch):
    parameters = PARAMETERS.model_copy(update={"ema": 0.9, "max_epochs": 2})
    whole, history = train(windows, tmp_path / "whole", parameters)
    save = training.save_last

    def killed(folder, network, optimiser, average, state):
        save(folder, network, optimiser, average, state)
        if any(frame.function == "validate" for frame in inspect.stack()):
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "save_last", killed)
        train(windows, tmp_path / "cut", parameters, runtime=Runtime(accelerator="cpu", checkpoint_minutes=1e-9))
    assert read_about(tmp_path / "cut" / "last.safetensors")["step"] > 0
    resumed, resumed_history = train(windows, tmp_path / "cut", parameters)
    assert resumed_history == history
    assert_same_weights(resumed, whole)


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


def test_of_a_frozen_backbone_there_is_no_average(windows, tmp_path):
    parameters = FinetuneParameters(batch_size=16, max_epochs=2, learning_rate=1e-2, ema=0.9)
    network = with_head(build_network(lambda: DSTformer(CONFIG), 0), parameters)
    train(windows, tmp_path / "run", parameters, network)
    kept = load_network(tmp_path / "run" / "model.safetensors")
    assert_same_weights(kept.backbone, network.backbone)
    assert not torch.equal(kept.head.joints.weight, network.head.joints.weight)


def assert_same_weights(network, other):
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


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


def test_a_frozen_backbone_s_features_are_not_kept_of_windows_made_new(placed_windows, tmp_path, caplog):
    caplog.set_level("INFO")
    network = build_network(lambda: DSTformer(CONFIG), 0)
    network.backbone.requires_grad_(False)
    parameters = FinetuneParameters(batch_size=16, max_epochs=3, augmentation=EVERYTHING)
    train(placed_windows, tmp_path / "run", parameters, network)
    assert "backbone features" not in caplog.text


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
sys.path[:0] = [{root!r}, {root!r} + "/tests/model"]
import torch
torch.set_num_threads(1)
from model.windows.loading import load_windows
from test_training import train

def on_step(step, steps):
    if step == 2:
        os.kill(os.getpid(), signal.SIGTERM)

windows = [load_windows(Path({windows!r}), split) for split in ("train", "val")]
train(windows, Path({folder!r}), on_step=on_step)
"""


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


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_half_precision_skips_steps_while_its_scale_is_too_large_and_takes_it_up_again(windows, tmp_path, optimiser):
    """As on CUDA, with CUDA's gradient scaler on the CPU."""

    parameters = PARAMETERS.model_copy(update={"optimiser": optimiser})

    def fit_half(folder, on_epoch=lambda record: None):
        folder.mkdir(exist_ok=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**28, growth_interval=1000)
        fabric = Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))
        network = build_network(lambda: DSTformer(CONFIG), 0)
        opened, runtime = TrainingWindows(*windows), Runtime(accelerator="cpu")
        progress = fit(network, opened, parameters, Objective.LIFT, folder, fabric, runtime, on_epoch, lambda *_: None)
        return network, progress

    whole, progress = fit_half(tmp_path / "whole")
    assert progress.bad_steps > 3
    assert progress.precision["scale"] < 2.0**28
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]

    def kill(record):
        if record["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        fit_half(tmp_path / "cut", kill)
    resumed, again = fit_half(tmp_path / "cut")
    assert again == progress
    assert_same_weights(resumed, whole)


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


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_kept_features_change_no_loss(windows, tmp_path, flip, kept, caplog):
    caplog.set_level("INFO")
    network = build_network(lambda: DSTformer(CONFIG), 0)
    network.backbone.requires_grad_(False)
    parameters = FinetuneParameters(batch_size=16, max_epochs=3, learning_rate=1e-2, flip=flip)
    runtime = Runtime(accelerator="cpu", memory_gb=None if kept == "memory" else 1e-6)
    _, history = train(windows, tmp_path / "kept", parameters, copy.deepcopy(network), runtime=runtime)
    assert ("in memory" if kept == "memory" else ".features-train-0") in caplog.text
    off = Runtime(accelerator="cpu", features="off")
    _, every_step = train(windows, tmp_path / "every-step", parameters, network, runtime=off)
    for record, other in zip(history, every_step, strict=True):
        assert record["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert record["train_mpjpe_mm"] == pytest.approx(other["train_mpjpe_mm"], rel=1e-5)
        assert record["val_mpjpe_mm"] == pytest.approx(other["val_mpjpe_mm"], rel=1e-5)
    assert not list((tmp_path / "kept").glob(".features*"))


def test_of_patches_the_features_are_kept_and_beside_a_stem_that_the_head_reads_they_are_not(windows, tmp_path, caplog):
    caplog.set_level("INFO")
    parameters = FinetuneParameters(batch_size=16, max_epochs=3, learning_rate=1e-2, flip=True)
    for head, kept in ((HeadKind.JOINTS, True), (HeadKind.POSE, False)):
        network = build_network(lambda head=head: DSTformer(LEARNER, head), 0)
        network.backbone.requires_grad_(False)
        caplog.clear()
        _, history = train(windows, tmp_path / head, parameters, copy.deepcopy(network))
        assert ("backbone features of" in caplog.text) is kept
        off = Runtime(accelerator="cpu", features="off")
        _, every_step = train(windows, tmp_path / f"{head}-every-step", parameters, network, runtime=off)
        for record, other in zip(history, every_step, strict=True):
            assert record["loss"] == pytest.approx(other["loss"], abs=1e-5)
            assert record["train_mpjpe_mm"] == pytest.approx(other["train_mpjpe_mm"], rel=1e-5)


def test_a_pose_head_is_kept_by_fine_tuning_and_exchanged_for_another():
    pretrained = learner()
    with torch.no_grad():
        for weight in pretrained.head.parameters():
            weight += 1.0
        same = with_head(pretrained, FinetuneParameters(head=HeadKind.POSE, freeze_backbone=False))
        assert_same_weights(same, pretrained)
        joints = with_head(pretrained, FinetuneParameters(head=HeadKind.JOINTS))
    assert_same_weights(joints.backbone, pretrained.backbone)
    assert not joints.backbone.geometry.lengths.requires_grad


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


@pytest.mark.parametrize("head", list(HeadKind))
def test_the_frozen_backbone_is_identical_before_and_after_fine_tuning(windows, tmp_path, head):
    pretrained, _ = train(windows, tmp_path / "pre", PARAMETERS.model_copy(update={"max_epochs": 1}))
    parameters = FinetuneParameters(head=head, batch_size=16, max_epochs=2, learning_rate=1e-2)
    network = with_head(pretrained, parameters)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tuned, _ = train(windows, tmp_path / "tuned", parameters, network)
    for name, value in tuned.state_dict().items():
        assert torch.equal(value, before[name]) is name.startswith("backbone."), name


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
