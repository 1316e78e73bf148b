import pytest
import torch

from data_contracts.parameters import (
    CorruptionParameters,
    DSTformerConfig,
    FinetuneParameters,
    HeadKind,
    Objective,
    Runtime,
    TrainingParameters,
)
from model.checkpoints import load_network, read_about
from model.dstformer import DSTformer
from model.training import build_network, fit, make_fabric
from tasks.finetune import with_head

CONFIG = DSTformerConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)
PARAMETERS = TrainingParameters(
    batch_size=16,
    max_epochs=4,
    learning_rate=3e-3,
    flip=True,
    corruption=CorruptionParameters(joint_share=0.05, noise_std=0.01),
    keep_top=2,
)


def train(windows, folder, parameters=PARAMETERS, network=None, objective=Objective.LIFT, on_epoch=lambda record: None):
    folder.mkdir(exist_ok=True)
    config = CONFIG if objective is Objective.LIFT else CONFIG.model_copy(update={"dim_out": 2})
    network = network or build_network(lambda: DSTformer(config), 0)
    fabric = make_fabric(Runtime(accelerator="cpu"), parameters.precision)
    history = fit(network, *windows, parameters, objective, folder, fabric, on_epoch, lambda step, steps: None)
    return network, history


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_the_loss_falls(windows, tmp_path, objective, precision):
    parameters = PARAMETERS.model_copy(update={"precision": precision})
    _, history = train(windows, tmp_path / "run", parameters, objective=objective)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["val_mpjpe_mm"] < history[0]["val_mpjpe_mm"]


class Killed(BaseException):
    """Stands for a kill: nothing of the loop may catch it."""


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
def test_a_run_taken_up_again_ends_with_the_same_weights_to_the_bit(windows, tmp_path, schedule):
    parameters = PARAMETERS.model_copy(update={"schedule": schedule})
    whole, history = train(windows, tmp_path / "whole", parameters)

    def kill(record):
        if record["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        train(windows, tmp_path / "cut", parameters, on_epoch=kill)
    resumed, resumed_history = train(windows, tmp_path / "cut", parameters)
    assert resumed_history == history
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_size_of_a_micro_batch_changes_no_result(windows, tmp_path):
    parameters = PARAMETERS.model_copy(update={"corruption": CorruptionParameters(), "max_epochs": 1})
    _, whole = train(windows, tmp_path / "whole", parameters.model_copy(update={"batch_size": 32}))
    _, parts = train(windows, tmp_path / "parts", parameters.model_copy(update={"batch_size": 8, "accumulate": 4}))
    assert parts[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-4)
    assert parts[0]["val_mpjpe_mm"] == pytest.approx(whole[0]["val_mpjpe_mm"], rel=1e-3)


@pytest.mark.parametrize("head", list(HeadKind))
def test_the_frozen_backbone_is_identical_before_and_after_fine_tuning(windows, tmp_path, head):
    pretrained, _ = train(windows, tmp_path / "pre", PARAMETERS.model_copy(update={"max_epochs": 1}))
    parameters = FinetuneParameters(head=head, batch_size=16, max_epochs=2, learning_rate=1e-2)
    network = with_head(pretrained, parameters)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tuned, _ = train(windows, tmp_path / "tuned", parameters, network)
    for name, value in tuned.state_dict().items():
        assert torch.equal(value, before[name]) is name.startswith("backbone."), name


def test_the_best_epochs_are_kept_and_the_best_of_them_served(windows, tmp_path):
    _, history = train(windows, tmp_path / "run")
    ranked = sorted(history, key=lambda record: record["val_mpjpe_mm"])
    kept = sorted(path.name for path in (tmp_path / "run").glob("top-*"))
    assert kept == sorted(f"top-epoch-{record['epoch']:04d}.safetensors" for record in ranked[:2])
    assert read_about(tmp_path / "run" / "model.safetensors") == ranked[0]


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
