"""Training runs on a few windows that take about a second."""

import torch

from data_contracts.parameters import (
    AugmentationParameters,
    CorruptionParameters,
    DetectorNoise,
    HeadKind,
    NetworkConfig,
    NewBodies,
    NewCameras,
    Objective,
    Runtime,
    TrainingParameters,
)
from model.data.loading import TrainingWindows, some_of
from model.network.network import PoseNetwork
from model.training.devices import make_fabric
from model.training.loop import build_network, fit

CONFIG = NetworkConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)
LEARNER = NetworkConfig(
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


class Killed(BaseException):
    """Stands for a kill: nothing of the loop may catch it."""


def few(windows):
    """Return every third one, of all people: seven steps an epoch."""
    return [some_of(split, range(0, len(split), 3)) for split in windows]


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
    network = network or build_network(lambda: PoseNetwork(config), 0)
    fabric = make_fabric(runtime, parameters.precision)
    opened = TrainingWindows(*windows)
    progress = fit(network, opened, parameters, objective, folder, fabric, runtime, on_epoch, on_step)
    return network, progress.history


def learner(seed=0):
    return build_network(lambda: PoseNetwork(LEARNER, HeadKind.POSE), seed)


def assert_same_weights(network, other):
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
