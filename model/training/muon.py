"""Muon for the matrices between hidden features (orthogonalised momentum), and AdamW for all other weights.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io/posts/muon), with
Nesterov momentum, the same quintic Newton-Schulz as torch.optim.Muon, and steps as large as AdamW's (Liu et al., "Muon
is scalable for LLM training", 2025: 0.2 sqrt(max(rows, columns))), so one rate and weight decay serve both.

- Each block of at most 48 rows is orthogonalised separately: q, k, v, and each token's rows of the stem's last layer.
  torch.optim.Muon processes whole matrices, which takes a third of a step (docs/design-notes.md).
- Newton-Schulz is iterated on X X^T, which is small, and X is multiplied once: a third of the time of iterating on X.
- float32 everywhere: bfloat16 is off by 2-3 %, twice as slow in these blocks, and makes rounding differ by device.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
BLOCK_ROWS = 48


class Muon(Optimizer):
    """Muon for groups with `blocks`, fused AdamW for groups without; one state, so a checkpoint holds one optimiser.

    Parameters
    ----------
    groups
        {"params": [...], "lr": ...}; with "blocks" the params are matrices whose rows form that many blocks.
    """

    found_inf: Tensor | None = None  # as for the fused optimisers of PyTorch: the step changes nothing if it is 1

    def __init__(
        self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], eps: float, weight_decay: float
    ) -> None:
        groups = list(groups)
        self.adamw = AdamW(groups, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        super().__init__(groups, {})  # AdamW has added the defaults

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        # shared again in each step, because `load_state_dict` replaces them
        self.adamw.state, self.adamw.param_groups = self.state, [g for g in self.param_groups if "blocks" not in g]
        self.adamw.found_inf = self.found_inf  # type: ignore[attr-defined]
        self.adamw.step()
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"] if "blocks" in group else ():
                if weight.grad is not None:
                    shapes.setdefault(weight.shape, []).append(weight)
            for weights in shapes.values():
                self._step_matrices(group, weights)

    def _step_matrices(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        """Step several matrices of the same shape together."""
        bad = self.found_inf
        good = 1.0 if bad is None else 1.0 - bad.to(weights[0].device)  # as a factor, which needs no synchronisation
        directions = []
        for weight in weights:
            assert weight.grad is not None
            if not self.state[weight]:
                self.state[weight] = {"momentum": torch.zeros_like(weight)}
            momentum = self.state[weight]["momentum"]
            counted = weight.grad if bad is None else torch.where(bad > 0, 0.0, weight.grad)
            momentum.lerp_(counted, (1 - MOMENTUM) * good)
            directions.append(counted.lerp(momentum, MOMENTUM))
        rows, columns = weights[0].shape
        height = rows // group["blocks"]
        steps = orthogonal(torch.stack(directions).view(-1, height, columns)).view(-1, rows, columns)
        size = group["lr"] * 0.2 * max(height, columns) ** 0.5
        for weight, step in zip(weights, steps * (-size * good), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"] * good).add_(step)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return for each matrix of (N, R, C) roughly the nearest orthogonal U V^T, singular values 0.7-1.2, float32."""
    x = matrices.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    gram = x @ x.transpose(1, 2)
    factor = None  # product of the polynomials so far
    for step in range(STEPS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        factor = polynomial if factor is None else polynomial @ factor
        if step < STEPS - 1:
            gram = polynomial @ gram @ polynomial
    assert factor is not None
    x = factor @ x
    return x.transpose(1, 2) if tall else x


def blocks_of(rows: int, columns: int) -> int:
    """Return the smallest number of equal blocks of at most `BLOCK_ROWS` rows; 1 for a narrow matrix."""
    if columns <= BLOCK_ROWS:
        return 1
    return next(blocks for blocks in range(-(-rows // BLOCK_ROWS), rows + 1) if rows % blocks == 0)
