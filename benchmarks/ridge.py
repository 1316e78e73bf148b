"""The linear baseline: one eigendecomposition for all penalties, against a solve for each.

    python -m benchmarks.ridge [--window 81] [--windows 6000] [--threads 1]

Windows that are noise around still poses; a fifth as many to validate. CPU seconds of a whole fit, Gram matrix and
choice of the penalty included. Ends with an error where the two choose different penalties or lift differently.
"""

import argparse
import time

import pandas as pd
import torch
from torch import Tensor

from model.baselines.linear import RIDGE_PENALTIES, Linear, _normal_equations, fit_linear
from model.data.loading import WindowTensors
from model.scoring.metrics import mpjpe


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=81)
    parser.add_argument("--windows", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, val = (
        noise(count, options.window, seed) for seed, count in enumerate((options.windows, options.windows // 5))
    )
    fits, seconds = [], []
    for fit in (solve_each, fit_linear):
        started = time.process_time()
        fits.append(fit(train, val))
        seconds.append(time.process_time() - started)
    (one, penalty), (other, same) = fits
    assert penalty == same, (penalty, same)
    torch.testing.assert_close(one(val.pose_2d[:64]), other(val.pose_2d[:64]), rtol=1e-3, atol=1e-4)
    print(f"{options.windows} windows of {options.window} frames, penalty {penalty:g}, CPU seconds:")
    print(
        f"a solve for each penalty {seconds[0]:.1f}, one decomposition {seconds[1]:.1f}: {seconds[0] / seconds[1]:.2f}x"
    )


def solve_each(train: WindowTensors, val: WindowTensors) -> tuple[Linear, float]:
    """As `fit_linear`, by a solve of the normal equations for each penalty."""
    gram, moment = _normal_equations(train)
    ridge = torch.eye(len(gram), dtype=torch.float64)
    fitted = {a: Linear(torch.linalg.solve(gram + a * ridge, moment).float()) for a in RIDGE_PENALTIES}
    penalty = min(RIDGE_PENALTIES, key=lambda a: float(mpjpe(fitted[a](val.pose_2d), val.pose_3d).mean()))
    return fitted[penalty], penalty


def noise(count: int, window: int, seed: int) -> WindowTensors:
    """Windows in memory."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    poses = 0.3 * normal(count, 1, 17, 3) + 0.01 * normal(count, window, 17, 3).cumsum(dim=1)
    pose_2d = torch.cat((poses[..., :2], torch.ones_like(poses[..., :1])), dim=-1)
    rows = pd.DataFrame({"window_id": range(count)})
    return WindowTensors(pose_2d, poses - poses[:, :, :1], torch.ones(count, window), torch.ones(count), rows, [count])


if __name__ == "__main__":
    main()
