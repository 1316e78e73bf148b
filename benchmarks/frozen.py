"""Fine-tuning under a frozen backbone: its features kept, against running it in every step.

    python -m benchmarks.frozen [--epochs 4]

The same network, windows (synthetic motion), batches and mirror augmentation; frames/s of the epochs that come after
the features have been computed, and of a whole run of `--whole` epochs with that included. Ends with an error where
losses differ by 1e-5 or more. One torch thread. Sizes: those of `benchmarks/small.yaml` and preset `seed`.
"""

import argparse
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning_fabric import Fabric

from benchmarks.feeding import write_windows
from data_contracts.parameters import DSTformerConfig, FinetuneParameters, HeadKind, Objective, Runtime
from data_contracts.presets import load_preset
from model.data.epochs import TrainingWindows
from model.data.loading import WindowTensors, load_windows
from model.network.dstformer import DSTformer
from model.training.loop import build_network, fit

SMALL = Path(__file__).with_name("small.yaml")


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--whole", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("size      backbone every step   features kept   ratio   of a whole run, features included")
    for name, preset, frames in (("small", str(SMALL), 9), ("seed", "seed", 10)):
        config = load_preset(preset).pretrain.network.model_copy(update={"dim_out": 3, "max_frames": frames})
        with TemporaryDirectory() as folder:
            write_windows(Path(folder), options.windows, frames, frames)
            kept = fine_tune(Path(folder), config, options.epochs, keep=True)
            every = fine_tune(Path(folder), config, 2, keep=False)
        worst = max(abs(a - b) for a, b in zip(kept.losses, every.losses, strict=False))
        if worst >= 1e-5:
            raise SystemExit(f"losses differ by {worst}")
        number = options.windows * frames
        rates = number / min(every.epoch_s), number / min(kept.epoch_s)
        whole = options.whole * min(every.epoch_s) / (kept.before_s + options.whole * min(kept.epoch_s))
        print(
            f"{name:8} {rates[0]:12.0f} frames/s {rates[1]:11.0f} frames/s {rates[1] / rates[0]:6.1f}x"
            f" {whole:6.1f}x of {options.whole} epochs; losses within {worst:.1e}"
        )


class Enough(Exception):
    """The epochs wanted are done."""


class Measured:
    """Losses of the epochs, what each took, and what came before the first."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.epoch_s: list[float] = []
        self.before_s = 0.0
        self._begun = self._first = time.perf_counter()
        self._started = False

    def on_step(self, step: int, steps: int) -> None:  # noqa: ARG002 - as `fit` calls it
        """The first step tells when the features had been computed."""
        if not self._started:
            self._started, self._first = True, time.perf_counter()
            self.before_s, self._begun = self._first - self._begun, self._first

    def on_epoch(self, record: dict[str, float]) -> None:
        """An epoch's end."""
        now = time.perf_counter()
        self.losses.append(record["loss"])
        self.epoch_s.append(now - self._begun)
        self._begun = now


def fine_tune(folder: Path, config: DSTformerConfig, epochs: int, keep: bool) -> Measured:
    """Fine-tune a head of the seed's kind; validation is on a few windows, so that epochs are training."""
    network = build_network(lambda: DSTformer(config, HeadKind.DEPTH), 0)
    network.backbone.requires_grad_(False)
    parameters = FinetuneParameters(batch_size=128, max_epochs=50, patience=50, flip=True, head=HeadKind.DEPTH)
    fabric = Fabric(accelerator="auto", devices=1)
    train = load_windows(folder, "train", device=fabric.device, flip=True)
    val = WindowTensors(**vars(train.pick(range(8))), rows=train.rows[:8], row_groups=[8])
    windows = TrainingWindows(train, val)
    measured = Measured()

    def on_epoch(record: dict[str, float]) -> None:
        measured.on_epoch(record)
        if record["epoch"] == epochs:
            raise Enough

    runtime = Runtime(features="auto" if keep else "off")
    with TemporaryDirectory() as run, suppress(Enough):
        fit(network, windows, parameters, Objective.LIFT, Path(run), fabric, runtime, on_epoch, measured.on_step)
    return measured


if __name__ == "__main__":
    main()
