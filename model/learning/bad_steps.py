"""Steps whose loss or gradient is not finite: skipped and counted on the device, without waiting for it."""

import torch
from torch import Tensor
from torch.optim import Optimizer


class BadSteps:
    """Counts of one run; `limit` of them in a row are too many."""

    def __init__(self, device: torch.device, limit: int, total: int = 0) -> None:
        self.limit = limit
        self._total = torch.tensor(total, device=device)
        self._in_a_row = torch.zeros((), dtype=torch.long, device=device)
        self._worst = torch.zeros((), dtype=torch.long, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None

    def skip_unless(self, finite: Tensor, optimiser: Optimizer, scaled: bool) -> None:
        """Let the next step of a fused `optimiser`, AdamW or Muon, change nothing unless `finite` (scalar, bool).

        A gradient scaler (`scaled`) looks for infinities itself, and a growing scale meets them now and then.
        """
        self._total += ~finite
        self._in_a_row = torch.where(finite, 0, self._in_a_row + 1)
        if not scaled:
            optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
            optimiser.grad_scale = None  # type: ignore[attr-defined]

    def too_many(self) -> bool:
        """Whether the limit was reached; on CUDA known some steps late, since nobody waits for the device."""
        if self._copied is None:
            return int(self._in_a_row) >= self.limit
        late = self._copied.query() and int(self._worst) >= self.limit
        self._worst.copy_(self._in_a_row, non_blocking=True)
        self._copied.record()
        return late

    @property
    def total(self) -> int:
        """Bad steps so far; waits for the device."""
        return int(self._total)
