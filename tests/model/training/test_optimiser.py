import pytest
import torch
from torch.optim import AdamW

from model.training.optimiser import BadSteps

CPU = torch.device("cpu")


def step(bad_steps, weight, optimiser, finite):
    weight.grad = torch.ones_like(weight) if finite else torch.full_like(weight, torch.nan)
    bad_steps.skip_unless(torch.isfinite(weight.grad).all(), optimiser, scaled=False)
    optimiser.step()


def test_a_bad_step_changes_nothing_and_is_counted():
    weight = torch.zeros(3, requires_grad=True)
    optimiser = AdamW([weight], lr=0.1, fused=True)
    bad_steps = BadSteps(CPU, limit=2)
    step(bad_steps, weight, optimiser, finite=True)
    before, state = weight.clone(), {key: value.clone() for key, value in optimiser.state[weight].items()}
    step(bad_steps, weight, optimiser, finite=False)
    assert torch.equal(weight, before)
    assert all(torch.equal(value, state[key]) for key, value in optimiser.state[weight].items())
    assert bad_steps.total == 1
    assert not bad_steps.too_many()


@pytest.mark.parametrize(("steps", "too_many"), [("bgbg", False), ("gbb", True), ("bbg", False)])
def test_only_bad_steps_in_a_row_are_too_many(steps, too_many):
    weight = torch.zeros(3, requires_grad=True)
    optimiser = AdamW([weight], lr=0.1, fused=True)
    bad_steps = BadSteps(CPU, limit=2)
    for kind in steps:
        step(bad_steps, weight, optimiser, finite=kind == "g")
    assert bad_steps.too_many() is too_many
    assert bad_steps.total == steps.count("b")
    assert torch.isfinite(weight).all()
