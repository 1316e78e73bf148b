"""The training loop: epochs over windows, one optimiser step per `batch_size * accumulate` windows.

- Every random number is a function of (seed, epoch, step), so a resumed run draws the numbers of an
  uninterrupted run. Micro-batch size and number of devices do not change the result.
- The loop does not wait for the device within an epoch: losses are summed on the device and read after the epoch.
- `last.safetensors` is written every `checkpoint_minutes`, on SIGTERM, and after each epoch before `on_epoch`.
"""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from data_contracts.errors import InputError
from data_contracts.parameters import CorruptionParameters, Objective, Runtime, TrainingParameters
from model.data.loading import Epochs, Step, TrainingWindows
from model.data.seeding import generator_at
from model.network.network import PoseNetwork
from model.training.checkpoints import Progress, keep, load_last, save_last
from model.training.devices import Interruption, compiled, largest_batch
from model.training.features import Features, cached_backbone_features
from model.training.optimiser import BadSteps, make_optimiser, set_learning_rate
from model.training.step import Learner, TrainingBatch

_LOG = logging.getLogger(__name__)


def build_network(make: Callable[[], PoseNetwork], seed: int) -> PoseNetwork:
    """Return `make()` with weights drawn from `seed`; the global generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def fit(
    network: PoseNetwork,
    windows: TrainingWindows,
    parameters: TrainingParameters,
    objective: Objective,
    folder: Path,
    fabric: Fabric,
    runtime: Runtime,
    on_epoch: Callable[[dict[str, float]], None],
    on_step: Callable[[int, int], None],
) -> Progress:
    """Train `network` in place; write `model.safetensors` (best epoch), `last.safetensors` and the top-k to `folder`.

    Parameters without `requires_grad` are not changed. If `folder` has a `last.safetensors`, training resumes from it,
    also in the middle of an epoch. Each of several processes calls this function, and the first one writes.

    Parameters
    ----------
    on_epoch
        Called with each epoch's metrics, including epochs before a resume. Epochs trained here also have
        `windows_per_second`, which is not part of the history because it differs between runs.
    on_step
        Called with (finished steps, all steps) after each optimiser step.

    Raises
    ------
    InputError
        `max_bad_steps` steps in a row were not finite, or the memory is too small even for half of the micro-batch.
    """
    network.backbone.gradient_checkpointing = parameters.gradient_checkpointing
    loop = _Loop(network, windows, parameters, objective, folder, fabric, runtime, on_step)
    for record in loop.progress.history:
        on_epoch(record)
    loop.choose_micro_batch()
    loop.cache_features()
    progress = loop.progress
    with loop.interruption:
        while progress.epoch < parameters.max_epochs and progress.stale_epochs < parameters.patience:
            on_epoch(loop.run_epoch())
    return progress


class _Loop:
    """Training state (network, optimiser, progress) and the operations on it."""

    def __init__(
        self,
        network: PoseNetwork,
        windows: TrainingWindows,
        parameters: TrainingParameters,
        objective: Objective,
        folder: Path,
        fabric: Fabric,
        runtime: Runtime,
        on_step: Callable[[int, int], None],
    ) -> None:
        self.network, self.windows, self.parameters, self.folder = network, windows, parameters, folder
        self.fabric, self.runtime, self.on_step = fabric, runtime, on_step
        self.scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
        self.optimiser = make_optimiser(network, parameters, self.scaled)
        module, self.wrapped = fabric.setup(
            compiled(network, windows.train.pick([0]).pose_2d, runtime, fabric), self.optimiser
        )
        self.module: nn.Module = module
        self.learner = Learner(module, parameters, objective, fabric)
        self.epochs = Epochs(windows, parameters)
        self.sampled = windows.sampled()
        self.sample = windows.train.pick(self.sampled.tolist())
        self.learned_on = {"window": windows.train.window, "fps": float(windows.train.rows["fps"].median())}
        state = load_last(folder, network, self.optimiser)
        fabric.barrier()  # the first process overwrites the file
        self.progress = Progress() if state is None else Progress(**state)
        if self.progress.precision:
            fabric.strategy.precision.load_state_dict(self.progress.precision)
        self.bad_steps = BadSteps(fabric.device, parameters.max_bad_steps, self.progress.bad_steps)
        self.loss_sum = torch.tensor(self.progress.loss_sum, device=fabric.device)
        self.counted = torch.tensor(self.progress.counted, device=fabric.device)
        self.interruption = Interruption(heed=fabric.is_global_zero)
        self.saved = time.monotonic()
        self.shrunk = False
        self.features: tuple[Features | None, Features | None] = (None, None)  # of train and val

    def choose_micro_batch(self) -> None:
        """Choose the number of windows per forward pass: `batch_size`, or with `auto_batch` as many as memory allows.

        `auto_batch` has an effect on CUDA only. A resumed run keeps its first choice.
        """
        if self.progress.micro_batch:
            return
        size, parameters = self.parameters.batch_size, self.parameters
        if parameters.auto_batch and self.fabric.device.type == "cuda":
            some = next(self.windows.train.batches(size))

            def step(count: int) -> None:
                windows = some.select(torch.arange(count, device=self.fabric.device) % len(some))
                generator = generator_at(self.fabric.device, parameters.seed, 0, 0)
                self.learner.gradients(self.learner.augmented(windows, generator), count)
                self.module.zero_grad(set_to_none=True)

            size = largest_batch(step, size, limit=size * parameters.accumulate)
        self.progress.micro_batch = size

    def cache_features(self) -> None:
        """Cache the features of a frozen backbone if its input is equal in all epochs and there are enough epochs."""
        parameters = self.parameters
        if (
            self.runtime.features == "off"
            or any(weight.requires_grad for weight in self.network.backbone.parameters())
            or self.network.reads_stem
            or parameters.corruption != CorruptionParameters()
            or parameters.augmentation.wanted
            or parameters.max_epochs <= (2 if parameters.flip else 1)
        ):
            return
        cached = partial(cached_backbone_features, self.network, fabric=self.fabric, memory_gb=self.runtime.memory_gb)
        self.features = cached(self.windows.train, parameters.flip), cached(self.windows.val, False)

    def run_epoch(self) -> dict[str, float]:
        """Finish the current epoch, validate, write `last.safetensors` and return the metrics of the epoch."""
        progress, epoch = self.progress, self.progress.epoch
        began, seen = time.monotonic(), 0
        self.module.train()
        for step in self.epochs.steps(epoch, progress.step, self.fabric.device):
            done = self.epochs.steps_before(epoch) + progress.step
            set_learning_rate(self.optimiser, self.parameters, done / self.epochs.total, epoch)
            self._step(step)
            if self.bad_steps.too_many():
                raise self._not_finite(step)
            progress.step += 1
            seen += len(step.windows)
            self.on_step(done + 1, self.epochs.total)
            self._save_if_due()
        done, loss = self.epochs.steps_before(epoch + 1), float(self.loss_sum) / max(int(self.counted), 1)
        speed = {"windows_per_second": seen / (time.monotonic() - began)} if seen else {}  # the loss has synchronised
        record = {
            "epoch": epoch + 1,
            "step": done,
            "loss": loss,
            "learning_rate": set_learning_rate(self.optimiser, self.parameters, (done - 1) / self.epochs.total, epoch),
            "bad_steps": self.bad_steps.total,
        }
        of_train, of_val = self.features
        of_sample = of_train.of(self.sampled) if of_train else None
        record["val_mpjpe_mm"], record["val_pck_150"] = self.learner.validate(
            self.windows.val, self._save_if_due, of_val
        )
        record["train_mpjpe_mm"], _ = self.learner.validate(self.sample, self._save_if_due, of_sample)
        progress.epoch, progress.step = epoch + 1, 0
        self.loss_sum, self.counted = torch.zeros_like(self.loss_sum), torch.zeros_like(self.counted)
        progress.enter(record, self.parameters.keep_top)
        if self.fabric.is_global_zero:
            keep(self.folder, self.network, progress, self.parameters.checkpoint_every, self.learned_on)
        self._save()
        self._save_if_due()
        return record | speed

    def _save_if_due(self) -> None:
        """Write `last.safetensors` every `checkpoint_minutes` and after SIGTERM; then SIGTERM ends the process."""
        if self.interruption.asked or time.monotonic() - self.saved > 60 * self.runtime.checkpoint_minutes:
            self._save()
        if self.interruption.asked:
            self.interruption.hand_on()

    def _save(self) -> None:
        progress = self.progress
        progress.loss_sum, progress.counted = float(self.loss_sum), int(self.counted)
        progress.bad_steps = self.bad_steps.total
        progress.precision = self.fabric.strategy.precision.state_dict()
        if self.fabric.is_global_zero:
            save_last(self.folder, self.network, self.optimiser, vars(progress))
        self.saved = time.monotonic()

    def _step(self, step: Step) -> None:
        parameters, fabric, progress = self.parameters, self.fabric, self.progress
        generator = generator_at(fabric.device, parameters.seed, progress.epoch, progress.step)
        features = self.features[0].at(step.places, step.mirrored) if self.features[0] else None
        loss = self._gradients(self.learner.augmented(step.windows, generator, features))
        norm = fabric.clip_gradients(self.module, self.wrapped, max_norm=parameters.clip_norm, error_if_nonfinite=False)
        assert isinstance(norm, Tensor)
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        self.bad_steps.skip_unless(finite, self.optimiser, self.scaled)
        self.wrapped.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.loss_sum += torch.where(finite, loss, 0.0) * len(step.windows)
        self.counted += finite * len(step.windows)

    def _gradients(self, batch: TrainingBatch) -> Tensor:
        """Compute the gradients of a step; if memory runs out, halve the micro-batch once and continue with it."""
        progress = self.progress
        try:
            return self.learner.gradients(batch, progress.micro_batch)
        except torch.OutOfMemoryError as error:
            if self.shrunk or progress.micro_batch == 1 or self.fabric.world_size > 1:
                raise InputError(
                    f"out of memory on {self.fabric.device} at {progress.micro_batch} windows per micro-batch; pass a"
                    " smaller batch_size and a larger accumulate, or gradient_checkpointing=true"
                ) from error
        self.shrunk, progress.micro_batch = True, math.ceil(progress.micro_batch / 2)
        _LOG.warning("out of memory: training continues with %d windows per micro-batch", progress.micro_batch)
        self.optimiser.zero_grad(set_to_none=True)
        if self.fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._gradients(batch)

    def _not_finite(self, step: Step) -> InputError:
        ids = self.windows.train.rows["window_id"].iloc[step.places.tolist()].tolist()
        numbers = ", ".join(map(str, ids[:10])) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
        return InputError(
            f"loss or gradient was not finite in {self.parameters.max_bad_steps} steps in a row, up to step"
            f" {self.progress.step + 1} of epoch {self.progress.epoch + 1}, windows {numbers}; try a smaller"
            " learning_rate, or precision 32-true"
        )
