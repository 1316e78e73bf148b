"""The DSTformer against the same network in plain eager PyTorch (`benchmarks.eager_dstformer`) with the same weights.

    python -m benchmarks.network [--threads 1] [--rounds 15] [--sizes seed-10 seed-243 lite-243] [--compile]

Prints windows per second of a forward pass (no gradient) and of a training step (forward, MPJPE, backward, fused AdamW)
and, in brackets, how many times as fast that is as the baseline, which computes in float32 throughout. Rows: float32;
bfloat16 by autocast, as Fabric's `bf16-mixed` trains; and all weights bfloat16 (forward only). It first compares the
outputs and ends with an error if float32 differs by 1e-5 or more.

All are timed in turn, round by round; windows/s are those of the fastest round, ratios the median over rounds. On CPU
with one thread the clock is the process's own CPU time, so that what else runs on the machine counts as little as it
can; else it is the wall clock, on CUDA around a synchronised run of several passes. `--compile` compiles our network
(on CUDA with CUDA graphs). The device is CUDA where there is one; size `full` is left out on CPU.

The figures measured stand in docs/benchmarks.md.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.eager_dstformer import EagerDSTformer
from data_contracts.parameters import DSTformerConfig
from model.network.dstformer import DSTformer

TOLERANCE = 1e-5  # of float32 outputs
CUDA_PASSES = 10  # between two synchronisations


@dataclass(frozen=True)
class Size:
    """A network and what it is fed."""

    config: DSTformerConfig
    frames: int
    cpu_batch: int
    cuda_batch: int


SEED = DSTformerConfig(embed_dim=64, heads=8, fusion_depth=2, mlp_ratio=4)
LITE = DSTformerConfig(embed_dim=256, heads=8, fusion_depth=5, mlp_ratio=4, rep_dim=512)
FULL = DSTformerConfig(embed_dim=512, heads=8, fusion_depth=5, mlp_ratio=2, rep_dim=512)
SIZES = {
    "seed-10": Size(SEED, 10, 32, 1024),
    "seed-243": Size(SEED, 243, 2, 64),
    "lite-243": Size(LITE, 243, 1, 16),
    "full-243": Size(FULL, 243, 1, 8),
}


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--compile", action="store_true", help="compile our network; on CPU this takes minutes a size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {options.threads} threads"
    print(f"{where}, torch {torch.__version__}, {options.rounds} rounds{', compiled' if options.compile else ''}")
    print(f"{'size':10}{'batch':>6}  {'network':22}{'forward /s':>18}{'training step /s':>22}")
    for name in options.sizes:
        if name.startswith("full") and device.type == "cpu":
            continue
        report(name, SIZES[name], device, options.rounds, options.compile, cpu_clock=options.threads == 1)


def report(name: str, size: Size, device: torch.device, rounds: int, compiled: bool, cpu_clock: bool) -> None:
    """Print the rows of one size."""
    batch = size.cuda_batch if device.type == "cuda" else size.cpu_batch
    pose_2d = torch.randn(batch, size.frames, 17, 3, device=device)
    target = torch.randn(batch, size.frames, 17, 3, device=device)
    ours, baseline = DSTformer(size.config).to(device), EagerDSTformer(size.config).to(device)
    baseline.load_state_dict(ours.state_dict())
    run: nn.Module = ours
    if compiled:
        run = torch.compile(ours, mode="reduce-overhead" if device.type == "cuda" else None, dynamic=False)  # type: ignore[assignment]
    with torch.no_grad():
        difference = float((run(pose_2d) - baseline(pose_2d)).abs().max())
    if difference >= TOLERANCE:
        raise SystemExit(f"{name}: outputs differ by {difference:.1e}")

    half = copy.deepcopy(ours).bfloat16()
    forwards = {
        "eager, float32": forward(baseline, pose_2d, autocast=False),
        "ours, float32": forward(run, pose_2d, autocast=False),
        "ours, bf16 autocast": forward(run, pose_2d, autocast=True),
        "ours, bf16 weights": forward(torch.compile(half) if compiled else half, pose_2d.bfloat16(), autocast=False),  # type: ignore[arg-type]
    }
    steps = {
        "eager, float32": training_step(baseline, pose_2d, target, autocast=False),
        "ours, float32": training_step(run, pose_2d, target, autocast=False),
        "ours, bf16 autocast": training_step(run, pose_2d, target, autocast=True),
    }
    forward_seconds = time_in_turn(forwards, rounds, device, cpu_clock)
    step_seconds = time_in_turn(steps, rounds, device, cpu_clock)
    for network in forwards:
        cells = [rate(seconds, network, batch) for seconds in (forward_seconds, step_seconds)]
        print(f"{name:10}{batch:6}  {network:22}{cells[0]:>18}{cells[1]:>22}", flush=True)


def forward(network: nn.Module, pose_2d: Tensor, autocast: bool) -> Callable[[], None]:
    """A forward pass without gradient."""

    @torch.no_grad()
    def run() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(pose_2d.device.type, torch.bfloat16, enabled=autocast):
            network(pose_2d)

    return run


def training_step(network: nn.Module, pose_2d: Tensor, target: Tensor, autocast: bool) -> Callable[[], None]:
    """Forward, loss, backward and optimiser step."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def run() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(pose_2d.device.type, torch.bfloat16, enabled=autocast):
            pred = network(pose_2d)
        (pred.float() - target).norm(dim=-1).mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return run


def time_in_turn(
    runs: dict[str, Callable[[], None]], rounds: int, device: torch.device, cpu_clock: bool
) -> dict[str, list[float]]:
    """Seconds a pass of each, once a round, after two rounds of warm-up."""
    passes = CUDA_PASSES if device.type == "cuda" else 1
    clock = time.process_time if cpu_clock and device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):
        for name, run in runs.items():
            begun = clock()
            for _ in range(passes):
                run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append((clock() - begun) / passes)
    return {name: taken[2:] for name, taken in seconds.items()}


def rate(seconds: dict[str, list[float]], network: str, batch: int) -> str:
    """Windows/s of the fastest round and the ratio to the first network's time, median over rounds."""
    if network not in seconds:
        return "-"
    baseline = next(iter(seconds.values()))
    ratio = statistics.median(theirs / own for theirs, own in zip(baseline, seconds[network], strict=True))
    return f"{batch / min(seconds[network]):.1f} ({ratio:.2f}x)"


if __name__ == "__main__":
    main()
