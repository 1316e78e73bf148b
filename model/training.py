"""The training loop: epochs over windows, one optimiser step per `batch_size * accumulate` windows.

Notable decisions:
- every random number is a function of (seed, epoch, step), so a resumed run draws what the killed one would have drawn;
- the size of a micro-batch changes memory, not the result: a step's loss is the mean over all its windows;
- nothing synchronises with the device inside an epoch: losses are summed there and read once at its end;
- `last` is written every epoch, before its metrics are reported.
"""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW

from data_contracts.parameters import Objective, Runtime, TrainingParameters
from data_contracts.store import CHECKPOINT_FILE
from model.batch_size import largest_batch
from model.batches import Batch
from model.checkpoints import LAST_FILE, load_training, save_network, save_training
from model.corruption import corrupt
from model.dstformer import DSTformer
from model.lifting import root_relative
from model.losses import pose_loss
from model.metrics import PCK_MM, joint_errors
from model.seeding import generator_at
from model.windows import Windows

WARMUP_SHARE = 0.03  # of a cosine schedule
VALIDATION_SEED = 2**31 - 1


@dataclass
class Progress:
    """The loop's state; JSON in `last`."""

    epoch: int = 0
    best: float = math.inf
    stale_epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    top: list[tuple[float, int]] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=dict)


def make_fabric(runtime: Runtime, precision: str) -> Fabric:
    """Fabric for this machine; fp16 autocast exists on CUDA only, so a CPU computes `16-mixed` in bfloat16.

    The threads of a small network meet hundreds of times a step: with every core taken, each waits for whatever else
    runs. Measured on 2 cores beside one busy process: 25 windows/s with 2 threads, 110 with 1.
    """
    torch.set_num_threads(runtime.threads or max(1, (os.cpu_count() or 1) // 2))
    fabric = Fabric(accelerator=runtime.accelerator, devices=runtime.devices, precision="32-true")
    if precision == "16-mixed" and fabric.device.type == "cpu":
        precision = "bf16-mixed"
    return Fabric(accelerator=runtime.accelerator, devices=runtime.devices, precision=precision)  # type: ignore[arg-type]


def build_network(make: Callable[[], DSTformer], seed: int) -> DSTformer:
    """`make()` with weights drawn from `seed`, the global generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def fit(
    network: DSTformer,
    train: Windows,
    val: Windows,
    parameters: TrainingParameters,
    objective: Objective,
    folder: Path,
    fabric: Fabric,
    on_epoch: Callable[[dict[str, float]], None],
    on_step: Callable[[int, int], None],
) -> list[dict[str, float]]:
    """Train `network` in place and leave `model.safetensors` (the best), `last.safetensors` and the top-k in `folder`.

    Parameters whose `requires_grad` is off stay as they are. Where `folder` holds a `last.safetensors`, training
    goes on from it.

    Parameters
    ----------
    train, val
        Windows, opened for Fabric's device.
    objective
        `reconstruct` asks for the clean 2D pose, `lift` for the 3D pose.
    on_epoch
        Called with each epoch's metrics (`epoch`, `step`, `loss`, `val_mpjpe_mm`, `val_pck_150`, `learning_rate`).
    on_step
        Called with (steps done, steps in all) after each optimiser step.

    Returns
    -------
    list of dict
        The metrics of every epoch, those before a resume included.
    """
    network.backbone.gradient_checkpointing = parameters.gradient_checkpointing
    optimiser = AdamW(
        _parameter_groups(network, parameters),
        betas=parameters.betas,
        eps=parameters.eps,
        weight_decay=parameters.weight_decay,
    )
    module, wrapped = fabric.setup(network, optimiser)
    progress = _resume(folder, network, optimiser, fabric)
    micro_batch = _micro_batch(module, train, parameters, objective, fabric)
    step_size = parameters.batch_size * parameters.accumulate
    steps_per_epoch = math.ceil(len(train) / step_size)
    total_steps = steps_per_epoch * parameters.max_epochs

    while progress.epoch < parameters.max_epochs and progress.stale_epochs < parameters.patience:
        module.train()
        loss_sum = torch.zeros((), device=fabric.device)
        for step, windows in enumerate(train.steps(parameters.seed, progress.epoch, step_size)):
            done = progress.epoch * steps_per_epoch + step
            learning_rate = _set_learning_rate(optimiser, parameters, done / total_steps, progress.epoch)
            generator = generator_at(fabric.device, parameters.seed, progress.epoch, step)
            mirrored = torch.rand(len(windows), generator=generator, device=fabric.device) < 0.5
            if parameters.flip:
                windows.mirror_(mirrored)
            for loss in _backward(module, windows.split(micro_batch), parameters, objective, fabric, generator):
                loss_sum += loss * len(windows)
            fabric.clip_gradients(module, wrapped, max_norm=parameters.clip_norm)
            wrapped.step()
            optimiser.zero_grad(set_to_none=True)
            on_step(done + 1, total_steps)
        progress.epoch += 1
        record = {
            "epoch": progress.epoch,
            "step": progress.epoch * steps_per_epoch,
            "loss": float(loss_sum) / len(train),
            "learning_rate": learning_rate,
            **validate(module, val, parameters, objective, fabric.device),
        }
        _keep(folder, network, record, progress, parameters)
        progress.precision = fabric.strategy.precision.state_dict()
        save_training(folder / LAST_FILE, network, optimiser, vars(progress))
        on_epoch(record)
    return progress.history


@torch.no_grad()
def validate(
    module: nn.Module, val: Windows, parameters: TrainingParameters, objective: Objective, device: torch.device
) -> dict[str, float]:
    """MPJPE (mm) and PCK@150mm on windows corrupted as in training, the same way every time; padding left out.

    With `reconstruct` the errors are those of the 2D pose, in mm at the root's depth.
    """
    module.eval()
    error_mm = torch.zeros((), device=device, dtype=torch.float64)
    correct, frames = error_mm.clone(), error_mm.clone()
    for number, batch in enumerate(val.batches(2 * parameters.batch_size)):
        start = number * 2 * parameters.batch_size
        generator = generator_at(device, parameters.seed, VALIDATION_SEED, start)
        pred, target = _predict(module, batch, parameters, objective, generator)
        errors_mm = joint_errors(pred, target) * (1000 / batch.scale.view(-1, 1, 1))  # (B, T, 17)
        error_mm += (errors_mm.mean(dim=-1) * batch.frame_weight).sum()
        correct += ((errors_mm <= PCK_MM).float().mean(dim=-1) * batch.frame_weight).sum()
        frames += batch.frame_weight.sum()
    return {"val_mpjpe_mm": float(error_mm / frames), "val_pck_150": float(correct / frames)}


def _backward(
    module: nn.Module,
    micro_batches: list[Batch],
    parameters: TrainingParameters,
    objective: Objective,
    fabric: Fabric,
    generator: torch.Generator,
) -> list[Tensor]:
    """Gradients of a step's mean loss over its windows; returns each micro-batch's share of that loss."""
    count, losses = sum(map(len, micro_batches)), []
    for number, batch in enumerate(micro_batches, start=1):
        with fabric.no_backward_sync(module, enabled=number < len(micro_batches)):  # type: ignore[arg-type]
            loss = _loss(module, batch, parameters, objective, generator) * (len(batch) / count)
            fabric.backward(loss)
        losses.append(loss.detach())
    return losses


def _predict(
    module: nn.Module,
    batch: Batch,
    parameters: TrainingParameters,
    objective: Objective,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    pred = module(corrupt(batch.pose_2d, parameters.corruption, generator)).float()
    if objective is Objective.RECONSTRUCT:
        return pred, batch.pose_2d[..., :2]
    return root_relative(pred), batch.pose_3d


def _loss(
    module: nn.Module,
    batch: Batch,
    parameters: TrainingParameters,
    objective: Objective,
    generator: torch.Generator,
) -> Tensor:
    pred, target = _predict(module, batch, parameters, objective, generator)
    return pose_loss(pred, target, batch.frame_weight, parameters.loss, parameters.focal_gamma)


def _parameter_groups(network: DSTformer, parameters: TrainingParameters) -> list[dict[str, Any]]:
    rate = parameters.learning_rate
    norm_rate = parameters.norm_learning_rate or rate
    rest: Iterable[nn.Parameter] = [*network.backbone.parameters(), *network.head.parameters()]
    groups = [(rest, rate), (network.norm.parameters(), norm_rate)]
    return [{"params": [p for p in group if p.requires_grad], "lr": lr, "base_lr": lr} for group, lr in groups]


def _set_learning_rate(
    optimiser: torch.optim.Optimizer, parameters: TrainingParameters, done_share: float, epoch: int
) -> float:
    """Set every group's rate for the step after `done_share` of all steps; returns the first group's."""
    if parameters.schedule == "cosine":
        warmup = min(1.0, (done_share + 1e-3) / WARMUP_SHARE)
        factor = warmup * 0.5 * (1 + math.cos(math.pi * done_share))
    else:
        factor = parameters.decay**epoch if parameters.schedule == "exponential" else 1.0
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimiser.param_groups[0]["lr"]


def _micro_batch(
    module: nn.Module, train: Windows, parameters: TrainingParameters, objective: Objective, fabric: Fabric
) -> int:
    """Windows per forward pass: the batch, or on CUDA with `auto_batch` the largest doubling of it that fits."""
    if not (parameters.auto_batch and fabric.device.type == "cuda"):
        return parameters.batch_size

    some = next(train.batches(parameters.batch_size))

    def step(size: int) -> None:
        generator = generator_at(fabric.device, parameters.seed, 0, 0)
        batch = some.select(torch.arange(size, device=fabric.device) % len(some))
        fabric.backward(_loss(module, batch, parameters, objective, generator))
        module.zero_grad(set_to_none=True)

    return largest_batch(step, parameters.batch_size, limit=parameters.batch_size * parameters.accumulate)


def _keep(
    folder: Path, network: DSTformer, record: dict[str, float], progress: Progress, parameters: TrainingParameters
) -> None:
    """Enter an epoch into the history, keep its weights if they are among the best or due, and drop what falls out."""
    score, epoch = record["val_mpjpe_mm"], int(record["epoch"])
    progress.history.append(record)
    progress.stale_epochs = 0 if score < progress.best else progress.stale_epochs + 1
    if score < progress.best:
        progress.best = score
        save_network(folder / CHECKPOINT_FILE, network, record)
    due = parameters.checkpoint_every and epoch % parameters.checkpoint_every == 0
    ranked = sorted([(best, at) for best, at in progress.top] + [(score, epoch)])
    progress.top = ranked[: parameters.keep_top]
    if due:
        save_network(folder / f"epoch-{epoch:04d}.safetensors", network, record)
    if (score, epoch) in progress.top:
        save_network(top_file(folder, epoch), network, record)
    for _, dropped in ranked[parameters.keep_top :]:
        top_file(folder, dropped).unlink(missing_ok=True)


def top_file(folder: Path, epoch: int) -> Path:
    """Where a run keeps the weights of `epoch` while they are among its best."""
    return folder / f"top-epoch-{epoch:04d}.safetensors"


def _resume(folder: Path, network: DSTformer, optimiser: torch.optim.Optimizer, fabric: Fabric) -> Progress:
    if not (folder / LAST_FILE).is_file():
        return Progress()
    progress = Progress(**load_training(folder / LAST_FILE, network, optimiser))
    if progress.precision:
        fabric.strategy.precision.load_state_dict(progress.precision)
    return progress
