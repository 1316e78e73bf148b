"""Skip and count optimiser steps whose loss or gradient is not finite, without synchronising with the device."""

import torch
from torch import Tensor
from torch.optim import Optimizer


class BadSteps:
    """Counter of the non-finite steps of one run; training ends after `limit` such steps in a row."""

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
