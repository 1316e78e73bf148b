import pytest
import torch

from model.training.devices import largest_batch


def step(fits, tried):
    def run(size):
        tried.append(size)
        if size > fits:
            raise torch.OutOfMemoryError

    return run


@pytest.mark.parametrize(("fits", "found"), [(1000, 256), (100, 64), (40, 32), (10, 8), (1, 1)])
def test_the_largest_doubling_that_fits_is_found(fits, found):
    assert largest_batch(step(fits, []), start=32, limit=256) == found


def test_a_device_that_holds_no_window_says_so():
    with pytest.raises(torch.OutOfMemoryError):
        largest_batch(step(0, []), start=8, limit=64)
