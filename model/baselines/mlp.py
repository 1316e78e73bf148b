"""The rival that learns: the simple baseline of Martinez et al. (ICCV 2017, section 3.2) carried to windows.

It meets the windows as a lifter meets them (`Learner`, `Epochs`): the same order, mirror images, augmentation,
corruption and loss. What it is given is minutes, not epochs. They become a number of steps at the speed that the first
steps of a copy have, so that its cosine ends where its minutes do, and the steps it had can be had again.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice, pairwise
from statistics import median

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW

from data_contracts.errors import InputError
from data_contracts.parameters import MLPParameters, Objective
from data_contracts.skeleton import NUM_JOINTS
from model.learning.stepping import Learner, set_learning_rate
from model.windows.epochs import Epochs, Step, TrainingWindows
from model.windows.seeding import generator_at

PROBE_STEPS = 20  # that tell the speed; fewer, where they would take more than a tenth of the minutes
WARM_UP_STEPS = 2  # not timed


class WindowMLP(nn.Module):
    """x and y of the whole window -> Linear, residual blocks, Linear -> the whole 3D window of `window` frames."""

    def __init__(self, window: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shape = {"window": window, "width": width, "blocks": blocks}
        self.enter = nn.Linear(2 * window * NUM_JOINTS, width)
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(blocks)))
        self.leave = nn.Linear(width, 3 * window * NUM_JOINTS)

    def forward(
        self,
        pose_2d: Tensor,
        masked: Tensor | None = None,  # noqa: ARG002 - as the learner asks any network
        features: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """(B, T, 17, 3): x, y, confidence -> (B, T, 17, 3), normalised units."""
        hidden = self.enter(pose_2d[..., :2].flatten(1))  # (B, width)
        return self.leave(self.blocks(hidden)).view(*pose_2d.shape[:3], 3)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.body(hidden)


@dataclass(frozen=True)
class Trained:
    """The MLP on the CPU, and what it was trained with; minutes as `MLPParameters.minutes` counts them."""

    network: WindowMLP
    steps: int
    minutes: float
    windows_per_second: float


def fit_mlp(
    windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric, on_step: Callable[[int, int], None]
) -> Trained:
    """Train the MLP for `parameters.minutes`; the weights of its last step are the result.

    Parameters
    ----------
    windows
        On Fabric's device.
    on_step
        Called with (steps done, steps in all) after each step.

    Raises
    ------
    InputError
        It came to weights that are not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        network = WindowMLP(windows.train.window, parameters.width, parameters.blocks)
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
            f"the mlp baseline came to weights that are not finite in {steps} steps; pass a smaller"
            " baselines.mlp.learning_rate"
        )
    seen = steps * parameters.batch_size * parameters.accumulate
    return Trained(network, steps, spent / 60, seen / spent)


def _train(
    network: WindowMLP, windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric, steps: int
) -> Iterator[int]:
    """So many optimiser steps; yields the number that are done after each. `network` ends with what is the result."""
    optimiser = AdamW(
        [{"params": list(network.parameters()), "base_lr": parameters.learning_rate}],
        lr=parameters.learning_rate,
        betas=parameters.betas,
        eps=parameters.eps,
        weight_decay=parameters.weight_decay,
    )
    module, wrapped = fabric.setup(network, optimiser)
    learner = Learner(module, parameters, Objective.LIFT, fabric)
    module.train()
    for done, (epoch, number, step) in enumerate(islice(_steps(windows, parameters, fabric), steps)):
        set_learning_rate(optimiser, parameters, done / steps, epoch)
        generator = generator_at(fabric.device, parameters.seed, epoch, number)
        learner.gradients(learner.made_new(step.windows, generator), parameters.batch_size)
        fabric.clip_gradients(module, wrapped, max_norm=parameters.clip_norm, error_if_nonfinite=False)
        wrapped.step()
        wrapped.zero_grad(set_to_none=True)
        yield done + 1


def _steps(windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric) -> Iterator[tuple[int, int, Step]]:
    """Epoch, number in it, and windows of step after step, without end."""
    epochs = Epochs(windows, parameters)
    for epoch in count():
        for number, step in enumerate(epochs.steps(epoch, 0, fabric.device)):
            yield epoch, number, step


def _seconds_a_step(network: WindowMLP, windows: TrainingWindows, parameters: MLPParameters, fabric: Fabric) -> float:
    """The median of some steps, by the clock that counts the minutes; `network` is not to be used afterwards."""
    clock = _clock(fabric)
    started, times = clock(), []
    for done in _train(network, windows, parameters, fabric, WARM_UP_STEPS + PROBE_STEPS):
        times.append(clock())
        if done > WARM_UP_STEPS and times[-1] - started > 6 * parameters.minutes:
            break
    return median(after - before for before, after in pairwise(times[WARM_UP_STEPS - 1 :]))


def _clock(fabric: Fabric) -> Callable[[], float]:
    """Seconds: of this process where the CPU computes, whatever else it is busy with; else of the device's work."""
    if fabric.device.type == "cpu":
        return time.process_time

    def when_done() -> float:
        torch.cuda.synchronize(fabric.device)
        return time.monotonic()

    return when_done
