import pytest
import torch
from safetensors.torch import load_file, save_file

from data_contracts.errors import InputError
from data_contracts.parameters import (
    AugmentationParameters,
    MLPParameters,
    NetworkConfig,
    NewBodies,
    NewCameras,
    Runtime,
)
from data_contracts.report import BASELINES, baseline_file
from model.baselines import mlp
from model.baselines.files import Baselines, load_baselines, save_baselines
from model.baselines.linear import fit_linear, fit_mean_depth
from model.baselines.mlp import fit_mlp
from model.data.loading import TrainingWindows, load_windows
from model.poses import root_relative
from model.scoring.metrics import mpjpe
from model.training.devices import make_fabric

NETWORK = NetworkConfig(kind="mlp", stem_width=64, geometry="foreshortening")
SMALL = MLPParameters(minutes=0.02, network=NETWORK, batch_size=16)


@pytest.fixture
def fit(windows):
    def run(parameters=SMALL, on_step=lambda done, steps: None):
        fabric = make_fabric(Runtime(accelerator="cpu", threads=1), parameters.precision)
        return fit_mlp(TrainingWindows(*windows), parameters, fabric, on_step)

    return run


@pytest.fixture
def ten_steps(monkeypatch):
    monkeypatch.setattr(mlp, "_seconds_a_step", lambda *_: 60 * SMALL.minutes / 10)


def test_it_learns_more_than_mean_depth(fit, windows, monkeypatch):
    monkeypatch.setattr(mlp, "_seconds_a_step", lambda *_: 60 * SMALL.minutes / 400)  # as many on a busy machine
    train, _ = windows
    lifted = root_relative(fit().network(train.pose_2d))
    errors = [mpjpe(pred, train.pose_3d).mean() for pred in (lifted, fit_mean_depth(train)(train.pose_2d))]
    assert errors[0] < 0.7 * errors[1]


def test_its_minutes_become_steps_and_the_cosine_ends_with_them(fit, monkeypatch):
    shares, calls = [], []
    set_rate = mlp.set_learning_rate
    monkeypatch.setattr(mlp, "set_learning_rate", lambda *told: shares.append(told[2]) or set_rate(*told))
    trained = fit(on_step=lambda done, steps: calls.append((done, steps)))
    assert calls == [(done + 1, trained.steps) for done in range(trained.steps)]
    probe, rates = shares[: -trained.steps], shares[-trained.steps :]
    assert 0 < len(probe) <= mlp.PROBE_STEPS + mlp.WARM_UP_STEPS
    assert rates == [done / trained.steps for done in range(trained.steps)]
    assert 0.25 * SMALL.minutes < trained.minutes < 4 * SMALL.minutes  # on a machine that others use too
    assert trained.windows_per_second == pytest.approx(trained.steps * 16 / (60 * trained.minutes))


def test_the_same_steps_give_the_same_weights_to_the_bit(fit, ten_steps):
    first, again = fit(), fit()
    assert first.steps == again.steps == 10
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"flip": False}, {"augmentation": AugmentationParameters(cameras=NewCameras(), bodies=NewBodies())}],
)
def test_what_training_does_to_windows_it_does_to_the_mlps(windows, windows_folder, ten_steps, changes):
    train = TrainingWindows(load_windows(windows_folder, "train", placed=True), windows[1])
    fabric = make_fabric(Runtime(accelerator="cpu", threads=1), "32-true")
    fitted = [fit_mlp(train, SMALL.model_copy(update=changed), fabric, lambda *_: None) for changed in ({}, changes)]
    weights = [trained.network.head.poses.weight for trained in fitted]
    assert torch.isfinite(weights[1]).all()
    assert not torch.equal(*weights)


def test_a_rate_that_explodes_is_refused_by_its_name(fit, windows, ten_steps):
    windows[0].pose_3d[:] = torch.inf
    with pytest.raises(InputError, match=r"not finite after 10 steps; pass a baselines\.mlp\.learning_rate below"):
        fit()


@pytest.fixture
def saved(fit, windows, ten_steps, tmp_path):
    fitted = Baselines(fit_mean_depth(windows[0]), fit_linear(*windows)[0], fit().network)
    save_baselines(tmp_path, fitted)
    return fitted


def test_what_is_saved_lifts_as_what_was_fitted(saved, windows, tmp_path):
    loaded, pose_2d = load_baselines(tmp_path), windows[1].pose_2d
    assert loaded.mlp.config == NETWORK.model_copy(update={"max_frames": 9})
    assert not loaded.mlp.training
    for name in BASELINES:
        assert torch.equal(getattr(loaded, name)(pose_2d), getattr(saved, name)(pose_2d)), name


def test_a_file_that_is_missing_damaged_or_of_another_shape_is_named(saved, tmp_path):
    path = tmp_path / baseline_file("mlp")
    tensors = load_file(path)
    save_file(
        tensors | {"enter.weight": torch.zeros(2, 2)},
        path,
        metadata={"pose_uplift": '{"window": 9, "width": 64, "blocks": 1}'},
    )
    with pytest.raises(InputError, match="files of the baselines have wrong tensors"):
        load_baselines(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"mlp\.safetensors: is not a readable baseline"):
        load_baselines(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"mlp\.safetensors: is not a readable baseline"):
        load_baselines(tmp_path)
