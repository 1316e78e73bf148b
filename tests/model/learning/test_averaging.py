import pytest
import torch
from torch import nn

from model.learning.averaging import AveragedWeights


def network():
    made = nn.Linear(2, 2)
    made.bias.requires_grad_(False)
    return made


def passed_through(linear, average, values, finite=True):
    for value in values:
        with torch.no_grad():
            linear.weight.fill_(value)
        average.follow(torch.tensor(finite))


def weight_of(average):
    return average.state_dict()["weights.weight"]


def test_it_is_the_average_by_its_formula():
    linear = network()
    start = linear.weight.detach().clone()
    average = AveragedWeights(linear, 0.3)
    passed_through(linear, average, [1.0, 2.0, 3.0])
    wanted = start
    for steps, value in enumerate([1.0, 2.0, 3.0], start=1):
        decay = min(0.3, (1 + steps) / (10 + steps))
        wanted = decay * wanted + (1 - decay) * value
    assert torch.allclose(weight_of(average), wanted)


def test_a_high_decay_holds_a_short_training_back_no_more_than_its_length():
    linear = network()
    average = AveragedWeights(linear, 0.9999)
    passed_through(linear, average, [5.0] * 40)
    assert weight_of(average) == pytest.approx(torch.full((2, 2), 5.0), abs=1e-3)


def test_a_step_that_is_not_finite_leaves_average_and_decay_as_they_are():
    linear = network()
    average = AveragedWeights(linear, 0.9)
    passed_through(linear, average, [1.0])
    before = {name: value.clone() for name, value in average.state_dict().items()}
    passed_through(linear, average, [1.0, 7.0], finite=False)
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


def test_shown_it_stands_in_the_network_in_whose_place_what_is_learned_is_kept_to_the_bit():
    linear = network()
    average = AveragedWeights(linear, 0.9)
    passed_through(linear, average, [1.0, 1.7])
    learned, averaged = linear.weight.clone(), weight_of(average).clone()
    with average.shown():
        assert torch.equal(linear.weight, averaged)
        with average.shown(False):
            assert torch.equal(linear.weight, learned)
            assert torch.equal(weight_of(average), averaged)
        assert torch.equal(linear.weight, averaged)
    assert torch.equal(linear.weight, learned)


def test_without_a_decay_there_is_none():
    linear = network()
    average = AveragedWeights(linear, None)
    passed_through(linear, average, [1.0])
    with average.shown():
        assert torch.equal(linear.weight, torch.ones(2, 2))
    assert average.state_dict() == {}


def test_what_is_frozen_has_none():
    assert set(AveragedWeights(network(), 0.5).state_dict()) == {"steps", "weights.weight"}
