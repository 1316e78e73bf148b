"""The average of the weights that training passes through, which is often better than where it stands.

An exponential moving average, as torch.optim.swa_utils takes it, and two things more: a step that changed nothing
leaves it as it is, without a look at the device; and its decay grows with the steps, min(decay, (1 + n) / (10 + n)) at
the n-th (TensorFlow's ExponentialMovingAverage), so that a short training forgets its first weights too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The average of the weights of `network` that learn, on their device; with `decay` None there is none.

    While `shown`, network and average have changed places, so that whatever is wrapped around the network (Fabric,
    `torch.compile`) computes with the average as it is.
    """

    def __init__(self, network: nn.Module, decay: float | None) -> None:
        self.decay = decay
        learning = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
        self._learned = {name: weight.detach() for name, weight in learning if decay is not None}
        self._average = {name: weight.clone() for name, weight in self._learned.items()}
        self._steps = torch.zeros((), device=next(network.parameters()).device)  # that it has followed
        self._shown = False

    @torch.no_grad()
    def follow(self, finite: Tensor | bool = True) -> None:
        """Take in the weights after a step; unless `finite` (scalar, bool) the step changed nothing, nor does this."""
        if self.decay is None:
            return
        self._steps += finite
        share = (1 - ((1 + self._steps) / (10 + self._steps)).clamp(max=self.decay)) * finite
        learned, average = list(self._learned.values()), list(self._average.values())
        torch._foreach_lerp_(average, learned, [share] * len(average))

    @contextmanager
    def shown(self, wanted: bool = True) -> Iterator[None]:
        """While the block runs the network has the averaged weights; or, not `wanted`, those that are learned."""
        before = self._shown
        self._show(wanted)
        try:
            yield
        finally:
            self._show(before)

    def put_in_place(self) -> None:
        """Leave the averaged weights in the network: training is over."""
        self._show(True)

    def state_dict(self) -> dict[str, Tensor]:
        """What `load_state_dict` needs, by name; empty where there is no average. Not while it is shown."""
        if self.decay is None:
            return {}
        return {"steps": self._steps} | {f"weights.{name}": value for name, value in self._average.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        for name, value in self.state_dict().items():
            value.copy_(state[name])

    @torch.no_grad()
    def _show(self, wanted: bool) -> None:
        if wanted == self._shown:
            return
        for name, weight in self._learned.items():
            aside = weight.clone()
            weight.copy_(self._average[name])
            self._average[name].copy_(aside)
        self._shown = wanted
