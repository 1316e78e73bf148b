"""Train for a number of minutes on the subjects of a named split, for `recipes` and `pretraining`.

Minutes are CPU time on one thread, or wall time on a GPU. A training gets the number of epochs that fits into its
minutes at the measured time per step, so the learning-rate schedule is complete. Validation is not counted.
"""

import copy
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from torch import nn

from data_contracts.parameters import Objective, PipelineParameters, TrainingParameters
from data_contracts.parameters.presets import load_preset, preset_and_overrides
from model.baselines.mlp import fit_mlp
from model.data.loading import Epochs, TrainingWindows, Windows, load_windows
from model.network.network import PoseNetwork
from model.training.checkpoints import load_network
from model.training.devices import make_fabric
from model.training.loop import build_network, fit
from tasks.train.training import with_head

STEPS_TO_MEASURE = 40
# Test subjects, validation subjects; all other subjects train. Subject c2s shares skeletons or motion with 02, 06, 07,
# 10, 13, 14, 16, 27, 29, 35, 49 and 55, so all of these always train; 60, 61 and 94 have the same skeleton.
SPLITS = {
    "A": (["01", "26", "32", "ui01", "ui05"], ["38", "43", "ui08"]),
    "B": (["08", "43", "gs-charleston", "ui03", "ui10"], ["26", "32", "ui06"]),
    "C": (["60", "61", "94", "ui06", "ui08"], ["08", "38", "ui03"]),
}


def preset_of(changes: Sequence[str], split: str, seed: int) -> PipelineParameters:
    """Return the preset `dstformer` with these changes, the subjects of a split, and the seed."""
    test, val = SPLITS[split]
    subjects = [
        "convert.split_by=groups",
        f"convert.test_groups={json.dumps(test)}",
        f"convert.val_groups={json.dumps(val)}",
    ]
    seeds = [f"{stage}.seed={seed}" for stage in ("pretrain", "finetune", "baselines.mlp")]
    return load_preset("dstformer", [*subjects, *seeds, "runtime.threads=1", *changes])


def make_windows(data: str, store: Path, presets: Sequence[PipelineParameters]) -> list[Path]:
    """Convert all motion files of a folder with each preset; return one windows folder per preset, in their order."""
    from benchmarks.kills import prefect_server
    from flows.stage_flows import convert, ingest

    store.mkdir(parents=True, exist_ok=True)
    with prefect_server(store):
        clips = ingest(data, store=str(store), **preset_and_overrides(presets[0])).folder
        return [convert(clips, store=str(store), **preset_and_overrides(preset)).path for preset in presets]


class Bench:
    """Windows, and training on them for a number of minutes."""

    def __init__(self, windows: TrainingWindows, test: Windows, preset: PipelineParameters) -> None:
        self.windows, self.test, self.preset, self.runtime = windows, test, preset, preset.runtime
        self.fabric = make_fabric(self.runtime, "32-true")
        self.clock = time.process_time if self.fabric.device.type == "cpu" else time.monotonic

    @classmethod
    def of(cls, folder: Path, preset: PipelineParameters) -> "Bench":
        """Return the bench of a windows folder, whose windows are loaded."""
        device, memory_gb = make_fabric(preset.runtime, "32-true").device, preset.runtime.memory_gb
        placed = preset.pretrain.augmentation.wanted
        train = load_windows(folder, "train", memory_gb, device, placed)
        val = load_windows(folder, "val", memory_gb, device)
        return cls(TrainingWindows(train, val), load_windows(folder, "test", memory_gb), preset)

    def new_network(self) -> PoseNetwork:
        """Return the network of the preset with initial weights."""
        pretrain = self.preset.pretrain
        config = pretrain.network.model_copy(update={"max_frames": self.windows.train.window})
        return build_network(lambda: PoseNetwork(config, pretrain.head), pretrain.seed)

    def mlp(self, minutes: float) -> tuple[nn.Module, float, float]:
        """Return the trained MLP, its number of epochs, and the training windows per second."""
        trained = fit_mlp(
            self.windows, self.preset.baselines.mlp.model_copy(update={"minutes": minutes}), self.fabric, _nothing
        )
        epochs = trained.windows_per_second * 60 * trained.minutes / len(self.windows.train)
        return trained.network, epochs, trained.windows_per_second

    def lifter(self, minutes: float, one_stage: bool) -> tuple[nn.Module, float, float]:
        """Return the trained network, its number of epochs, and windows per second; `one_stage`: only pretrain it."""
        pretrain, finetune = self.preset.pretrain, self.preset.finetune
        of_second = 0.0 if one_stage else finetune.max_epochs / (pretrain.max_epochs + finetune.max_epochs)
        network, epochs, speed = self.train(self.new_network(), pretrain, minutes * (1 - of_second))
        if one_stage:
            return network, epochs, speed
        network, more, speed = self.train(with_head(network, finetune), finetune, minutes * of_second)
        return network, epochs + more, speed

    def train(
        self, network: PoseNetwork, parameters: TrainingParameters, minutes: float
    ) -> tuple[PoseNetwork, float, float]:
        """Train one stage; return the network of the best epoch, the number of epochs, and the windows per second."""
        seconds = self._seconds_per_epoch(network, parameters)
        epochs = max(1, round(60 * minutes / seconds))
        print(f"  {epochs} epochs of {seconds:.1f} s", flush=True)
        with TemporaryDirectory() as folder:
            self._fit(network, parameters, epochs, Path(folder))
            return load_network(Path(folder) / "model.safetensors"), epochs, len(self.windows.train) / seconds

    def _seconds_per_epoch(self, network: PoseNetwork, parameters: TrainingParameters) -> float:
        times: list[float] = []

        def on_step(step: int, steps: int) -> None:  # noqa: ARG001 - as `fit` calls it
            times.append(self.clock())
            if len(times) > STEPS_TO_MEASURE:
                raise Measured

        with TemporaryDirectory() as folder, suppress(Measured):
            self._fit(copy.deepcopy(network), parameters, 1000, Path(folder), on_step)
        step = median(after - before for before, after in pairwise(times[2:]))
        return step * Epochs(self.windows, parameters).steps_before(1)

    def _fit(
        self,
        network: PoseNetwork,
        parameters: TrainingParameters,
        epochs: int,
        folder: Path,
        on_step: Callable[[int, int], None] = lambda step, steps: None,  # noqa: ARG005
    ) -> None:
        limited = parameters.model_copy(update={"max_epochs": epochs, "patience": epochs})
        fit(network, self.windows, limited, Objective.LIFT, folder, self.fabric, self.runtime, _nothing, on_step)


class Measured(Exception):
    """Ends a training in which enough steps were measured."""


def _nothing(*_: object) -> None:
    """Ignore progress."""
