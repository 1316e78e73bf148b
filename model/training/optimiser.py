"""The optimiser: its parameter groups, its schedule, and steps that are skipped because they are not finite."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from data_contracts.parameters import TrainingParameters
from model.network.dstformer import DSTformer
from model.training.muon import Muon, blocks_of

WARMUP_SHARE = 0.03  # of a cosine schedule


def make_optimiser(network: DSTformer, parameters: TrainingParameters, scaled: bool) -> Optimizer:
    """Return the optimiser of all trainable weights; `scaled`: a gradient scaler unscales the gradients before it."""
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


def parameter_groups(network: DSTformer, parameters: TrainingParameters) -> list[dict[str, Any]]:
    """Return parameter groups: the last LayerNorm has its own learning rate, and Muon's matrices their blocks."""
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


def hidden_matrices(network: DSTformer) -> dict[nn.Parameter, int]:
    """Return the matrices between hidden features, and the number of row blocks that Muon uses for each.

    Excluded are embeddings, the layers that read or write coordinates, and fusions, whose two rows are logits.
    """
    found: dict[nn.Parameter, int] = {}
    for name, module in network.backbone.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith(("joints_embed", "fusions", "stem.enter")):
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
    """Counter of the non-finite steps of one run, which are skipped; nothing synchronises with the device.

    Training ends after `limit` such steps in a row.
    """

    def __init__(self, device: torch.device, limit: int, total: int = 0) -> None:
        self.limit = limit
        self._total = torch.tensor(total, device=device)
        self._in_a_row = torch.zeros((), dtype=torch.long, device=device)
        self._worst = torch.zeros((), dtype=torch.long, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None

    def skip_unless(self, finite: Tensor, optimiser: Optimizer, scaled: bool) -> None:
        """Disable the next step of a fused `optimiser` (AdamW or Muon) unless `finite` (scalar, bool) is true.

        With a gradient scaler (`scaled`) the scaler itself skips steps with infinities, which a growing scale causes
        from time to time.
        """
        self._total += ~finite
        self._in_a_row = torch.where(finite, 0, self._in_a_row + 1)
        if not scaled:
            optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
            optimiser.grad_scale = None  # type: ignore[attr-defined]

    def too_many(self) -> bool:
        """Return whether the limit was reached; on CUDA the answer is some steps late, to avoid synchronisation."""
        if self._copied is None:
            return int(self._in_a_row) >= self.limit
        late = self._copied.query() and int(self._worst) >= self.limit
        self._worst.copy_(self._in_a_row, non_blocking=True)
        self._copied.record()
        return late

    @property
    def total(self) -> int:
        """Number of bad steps so far; synchronises with the device."""
        return int(self._total)
