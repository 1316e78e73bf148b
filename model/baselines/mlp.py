"""MLP baseline: `network.kind: mlp`, the simple baseline of Martinez et al. (ICCV 2017, section 3.2) over a window.

The MLP is trained like the lifter: same geometry, confidence, optimiser, order, mirroring, augmentation, corruption and
loss. Its budget is in minutes: a copy is trained for a few steps, and its speed gives the number of steps to schedule.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice, pairwise
from statistics import median

import torch
from lightning_fabric import Fabric

from data_contracts.errors import InputError
from data_contracts.parameters import HeadKind, MLPParameters, Objective
from model.data.loading import Epochs, Step, TrainingWindows
from model.data.seeding import generator_at
from model.network.network import PoseNetwork
from model.training.loop import build_network
from model.training.optimiser import make_optimiser, set_learning_rate
from model.training.step import Learner

PROBE_STEPS = 20  # to measure the speed; fewer if they would take more than a tenth of the minutes
WARM_UP_STEPS = 2  # not timed


@dataclass(frozen=True)
class Trained:
    """The trained MLP on the CPU, and the cost of its training; `minutes` are CPU time or, on a GPU, wall time."""

    network: PoseNetwork
    steps: int
    minutes: float
    windows_per_second: float


def fit_mlp(
    windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric, on_step: Callable[[int, int], None]
) -> Trained:
    """Train the MLP for about `parameters.minutes`; `windows` are on Fabric's device. The last step's weights are kept.

    `on_step` is called with (finished steps, all steps) after each step. Weights that are not finite after training
    raise an InputError.
    """
    dependent = {"max_frames": windows.train.window, "mask_token": parameters.corruption.learns_token}
    config = parameters.network.model_copy(update=dependent)
    network = build_network(lambda: PoseNetwork(config, HeadKind.POSE), parameters.seed)
    seconds = _seconds_a_step(copy.deepcopy(network), windows, parameters, fabric)
    steps = max(1, round(60 * parameters.minutes / seconds))
    clock = _clock(fabric)
    started = clock()
    for done in _train(network, windows, parameters, fabric, steps):
        on_step(done, steps)
    spent = clock() - started
    network = network.cpu().eval()
    if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
        raise InputError(
            f"the weights of the mlp baseline are not finite after {steps} steps; pass a baselines.mlp.learning_rate"
            f" below {parameters.learning_rate:g}"
        )
    seen = steps * parameters.batch_size * parameters.accumulate
    return Trained(network, steps, spent / 60, seen / spent)


def _train(
    network: PoseNetwork, windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric, steps: int
) -> Iterator[int]:
    """Do `steps` optimiser steps on `network` and yield the number of finished steps after each."""
    optimiser = make_optimiser(network, parameters, scaled=False)
    module, wrapped = fabric.setup(network, optimiser)
    learner = Learner(module, parameters, Objective.LIFT, fabric)
    module.train()
    for done, (epoch, number, step) in enumerate(islice(_steps(windows, parameters, fabric), steps)):
        set_learning_rate(optimiser, parameters, done / steps, epoch)
        generator = generator_at(fabric.device, parameters.seed, epoch, number)
        learner.gradients(learner.augmented(step.windows, generator), parameters.batch_size)
        fabric.clip_gradients(module, wrapped, max_norm=parameters.clip_norm, error_if_nonfinite=False)
        wrapped.step()
        wrapped.zero_grad(set_to_none=True)
        yield done + 1


def _steps(windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric) -> Iterator[tuple[int, int, Step]]:
    """Yield the epoch, the number within the epoch, and the windows of each step; the iterator never ends."""
    epochs = Epochs(windows, parameters)
    for epoch in count():
        for number, step in enumerate(epochs.steps(epoch, 0, fabric.device)):
            yield epoch, number, step


def _seconds_a_step(network: PoseNetwork, windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric) -> float:
    """Train `network` for a few steps and return the median duration of a step, in seconds of `_clock`."""
    clock = _clock(fabric)
    started, times = clock(), []
    for done in _train(network, windows, parameters, fabric, WARM_UP_STEPS + PROBE_STEPS):
        times.append(clock())
        if done > WARM_UP_STEPS and times[-1] - started > 6 * parameters.minutes:
            break
    return median(after - before for before, after in pairwise(times[WARM_UP_STEPS - 1 :]))


def _clock(fabric: Fabric) -> Callable[[], float]:
    """Return the clock of the training time: CPU time of this process or, on a GPU, wall time after synchronisation."""
    if fabric.device.type == "cpu":
        return time.process_time

    def when_done() -> float:
        torch.cuda.synchronize(fabric.device)
        return time.monotonic()

    return when_done
