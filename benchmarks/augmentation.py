"""What it costs to make a step's windows new, as a share of a training step.

    python -m benchmarks.augmentation [--preset demo] [--windows 128] [--frames 27]

A step is windows made new, forward, backward, AdamW: `--windows` of them, of `--frames`, else as the preset has it;
float32, one torch thread, synthetic motion. Shares are of the step with everything on; best of `--rounds`, in the
process's own CPU time.
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
from model.data.augmentation import augment
from model.data.batches import Batch
from model.data.loading import load_windows
from model.data.seeding import generator_at
from model.network.dstformer import DSTformer
from model.training.step import Learner, parameter_groups

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
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--windows", type=int)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    preset = load_preset(options.preset)
    count, frames = options.windows or preset.pretrain.batch_size, options.frames or preset.convert.window
    with TemporaryDirectory() as folder:
        write_windows(Path(folder), count, frames, frames)
        windows = load_windows(Path(folder), "train", memory_gb=1e9, placed=True).pick(range(count))
    parts_s = {way: best(made_new(windows, parameters), options.rounds) for way, parameters in WAYS.items()}
    step_s = best(training_step(preset, windows), options.rounds) + parts_s["everything"]
    print(f"{options.preset}, {count} windows of {frames} frames: a step takes {1000 * step_s:.1f} ms")
    for way, part_s in parts_s.items():
        print(f"  {way:16} {1000 * part_s:6.2f} ms {part_s / step_s:6.1%}")


def training_step(preset: PipelineParameters, windows: Batch) -> Callable[[], None]:
    """One step of pretraining on `windows` as they are stored."""
    config = preset.pretrain.network.model_copy(update={"max_frames": windows.window})
    network, parameters = DSTformer(config), preset.pretrain.model_copy(update={"precision": "32-true"})
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimiser = fabric.setup(network, AdamW(parameter_groups(network, parameters)))
    learner = Learner(module, parameters, Objective.LIFT, fabric)

    def step() -> None:
        learner.gradients(learner.augmented(windows, generator_at("cpu", 0, 0, 0)), len(windows))
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
