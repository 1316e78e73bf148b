"""The optimiser: parameter groups, learning rate schedule, skipped steps with non-finite gradients, and Muon.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io/posts/muon).
Muon has Nesterov momentum and the quintic Newton-Schulz of torch.optim.Muon. Steps are scaled by 0.2 sqrt(max(rows,
columns)) to the size of AdamW's steps (Liu et al., "Muon is scalable for LLM training", 2025), so one rate fits both.

- Each block of at most 48 rows is orthogonalised separately: q, k, v, and each token's rows of the stem's last layer.
  torch.optim.Muon processes whole matrices, which takes a third of a step (docs/design-notes.md).
- Newton-Schulz is iterated on X X^T, which is small, and X is multiplied once: a third of the time of iterating on X.
- float32 everywhere: bfloat16 is off by 2-3 %, twice as slow in these blocks, and makes rounding differ by device.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from data_contracts.parameters import TrainingParameters
from model.network.network import PoseNetwork

WARMUP_SHARE = 0.03  # of a cosine schedule
MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
BLOCK_ROWS = 48
_OUTSIDE = ("joints_embed", "fusions", "stem.enter", "encoder.enter")  # not between hidden features


def make_optimiser(network: PoseNetwork, parameters: TrainingParameters, scaled: bool) -> Optimizer:
    """Return the optimiser of all trainable weights; for a gradient scaler (`scaled`) AdamW is not the fused one."""
    groups = parameter_groups(network, parameters)
    if parameters.optimiser == "muon":
        return Muon(groups, parameters.betas, parameters.eps, parameters.weight_decay)
    return AdamW(
        groups,
        betas=parameters.betas,
        eps=parameters.eps,
        weight_decay=parameters.weight_decay,
        fused=not scaled,  # Fabric does not clip gradients that a fused optimiser would unscale itself
    )


def parameter_groups(network: PoseNetwork, parameters: TrainingParameters) -> list[dict[str, Any]]:
    """Return parameter groups: the last LayerNorm (own learning rate), Muon's matrices (with `blocks`), the rest."""
    rate = parameters.learning_rate
    norm_rate = parameters.norm_learning_rate or rate
    blocks = hidden_matrices(network) if parameters.optimiser == "muon" else {}
    rest = [p for p in (*network.backbone.parameters(), *network.head.parameters()) if p not in blocks]
    groups: list[tuple[list[nn.Parameter], float, dict[str, int]]]
    groups = [(rest, rate, {}), ([*network.norm.parameters()], norm_rate, {})]
    for count in sorted(set(blocks.values())):
        groups.append(([p for p in blocks if blocks[p] == count], rate, {"blocks": count}))
    return [
        {"params": [p for p in group if p.requires_grad], "lr": lr, "base_lr": lr, **kind} for group, lr, kind in groups
    ]


def hidden_matrices(network: PoseNetwork) -> dict[nn.Parameter, int]:
    """Return the matrices that Muon trains (between hidden features), with the number of row blocks of each.

    Excluded are embeddings, the layers that read or write coordinates, and fusions, whose two rows are logits.
    """
    found: dict[nn.Parameter, int] = {}
    for name, module in network.backbone.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith(_OUTSIDE):
            rows, columns = module.weight.shape
            parts = 3 if name.endswith("qkv") else rows // network.config.embed_dim if name == "stem.tokens" else 1
            weight: nn.Parameter = module.weight  # type: ignore[assignment]
            found[weight] = parts * blocks_of(rows // parts, columns)
    return found


def set_learning_rate(optimiser: Optimizer, parameters: TrainingParameters, done_share: float, epoch: int) -> float:
    """Set the rate of every group for the step after `done_share` of all steps; return the rate of the first group."""
    if parameters.schedule == "cosine":
        warmup = min(1.0, (done_share + 1e-3) / WARMUP_SHARE)
        factor = warmup * 0.5 * (1 + math.cos(math.pi * done_share))
    else:
        factor = parameters.decay**epoch if parameters.schedule == "exponential" else 1.0
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
    return optimiser.param_groups[0]["lr"]


class BadSteps:
    """Counter of skipped non-finite steps in one run; training ends after `limit` non-finite steps in a row."""

    def __init__(self, device: torch.device, limit: int, total: int = 0) -> None:
        self.limit = limit
        self._total = torch.tensor(total, device=device)
        self._in_a_row = torch.zeros((), dtype=torch.long, device=device)
        self._worst = torch.zeros((), dtype=torch.long, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None

    def skip_unless(self, finite: Tensor, optimiser: Optimizer, scaled: bool) -> None:
        """Count a step; if `finite` (scalar, bool) is false, the next step of `optimiser` changes nothing.

        With a gradient scaler (`scaled`) the scaler skips steps with non-finite gradients; this method only counts.
        """
        self._total += ~finite
        self._in_a_row = torch.where(finite, 0, self._in_a_row + 1)
        if not scaled:
            optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
            optimiser.grad_scale = None  # type: ignore[attr-defined]

    def too_many(self) -> bool:
        """Return whether the limit was reached; on CUDA some steps late, to avoid a wait for the device."""
        if self._copied is None:
            return int(self._in_a_row) >= self.limit
        late = self._copied.query() and int(self._worst) >= self.limit
        self._worst.copy_(self._in_a_row, non_blocking=True)
        self._copied.record()
        return late

    @property
    def total(self) -> int:
        """Number of non-finite steps so far; reading it waits for the device."""
        return int(self._total)


class Muon(Optimizer):
    """Muon for groups with "blocks", and fused AdamW for other groups; all share one state, so a checkpoint has one.

    The weights of a group with "blocks" are matrices whose rows form `blocks` equal blocks.
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
    """Return roughly the nearest orthogonal matrix for each of (N, R, C): float32, singular values 0.7-1.2."""
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
    """Return the smallest number of equal blocks of at most `BLOCK_ROWS` rows; 1 for at most `BLOCK_ROWS` columns."""
    if columns <= BLOCK_ROWS:
        return 1
    return next(blocks for blocks in range(-(-rows // BLOCK_ROWS), rows + 1) if rows % blocks == 0)
