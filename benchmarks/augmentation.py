"""What it costs to make a step's windows new, as a share of a training step.

    python -m benchmarks.augmentation [--presets demo motionbert] [--windows 8]

A step is windows made new, forward, backward, AdamW: `--windows` of them, else the batch of the preset, as long as the
preset's windows; float32, one torch thread, synthetic motion. Shares are of the step with everything on; best of
`--rounds`, in the process's own CPU time.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning_fabric import Fabric
from torch.optim import AdamW

from benchmarks.feeding import write_windows
from data_contracts.parameters import AugmentationParameters, NewBodies, NewCameras, Objective, PipelineParameters
from data_contracts.presets import load_preset
from model.learning.stepping import Learner, parameter_groups
from model.network.dstformer import DSTformer
from model.windows.augmentation import augment
from model.windows.batches import Batch
from model.windows.loading import load_windows
from model.windows.seeding import generator_at

WAYS = {
    "cameras": AugmentationParameters(cameras=NewCameras()),
    "cameras, bodies": AugmentationParameters(cameras=NewCameras(), bodies=NewBodies()),
    "everything": AugmentationParameters(
        cameras=NewCameras(perspective_share=0.5), bodies=NewBodies(), limbs_share=0.5, bone_turn_deg=5, tilt_deg=5
    ),
}


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["demo"])
    parser.add_argument("--windows", type=int)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("preset, windows a step       step, ms   " + "   ".join(f"{way}, ms" for way in WAYS))
    for name in options.presets:
        preset = load_preset(name)
        count = options.windows or preset.pretrain.batch_size
        with TemporaryDirectory() as folder:
            write_windows(Path(folder), count, preset.convert.window, preset.convert.stride)
            windows = load_windows(Path(folder), "train", memory_gb=1e9, placed=True).pick(range(count))
        step_s = best(training_step(preset, windows), options.rounds)
        parts_s = [best(made_new(windows, way), options.rounds) for way in WAYS.values()]
        whole_s = step_s + parts_s[-1]
        label = f"{name}, {count} x {preset.convert.window} frames"
        print(
            f"{label:26} {1000 * whole_s:10.1f}   " + "   ".join(f"{1e3 * s:.2f} ({s / whole_s:.1%})" for s in parts_s)
        )


def training_step(preset: PipelineParameters, windows: Batch) -> Callable[[], None]:
    """One step of pretraining on `windows` as they are stored."""
    config = preset.pretrain.network.model_copy(update={"max_frames": windows.window})
    network, parameters = DSTformer(config), preset.pretrain.model_copy(update={"precision": "32-true"})
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimiser = fabric.setup(network, AdamW(parameter_groups(network, parameters)))
    learner = Learner(module, parameters, Objective.LIFT, fabric)

    def step() -> None:
        learner.gradients(learner.made_new(windows, generator_at("cpu", 0, 0, 0)), len(windows))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def made_new(windows: Batch, parameters: AugmentationParameters) -> Callable[[], None]:
    """`windows` made new once."""

    def step() -> None:
        augment(windows, parameters, generator_at("cpu", 0, 0, 0))

    return step


def best(step: Callable[[], None], rounds: int) -> float:
    """Seconds that `step` takes."""
    seconds = []
    for _ in range(rounds + 3):  # the first ones warm
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    return min(seconds[3:])


if __name__ == "__main__":
    main()
