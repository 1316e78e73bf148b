"""Find the largest micro-batch that fits the device by doubling it until memory runs out."""

from collections.abc import Callable

import torch


def largest_batch(step: Callable[[int], None], start: int, limit: int) -> int:
    """Return the largest of `start`, 2 `start`, 4 `start`, ... up to `limit` for which `step(size)` fits in memory.

    Parameters
    ----------
    step
        Runs one forward and backward pass of that many windows.
    start
        First size to try; it is halved until it fits.
    limit
        Largest size to try.

    Raises
    ------
    torch.OutOfMemoryError
        Not even one window fits.
    """
    size = start
    while not _fits(step, size):
        if size == 1:
            step(size)
        size //= 2
    if size < start:
        return size
    while 2 * size <= limit and _fits(step, 2 * size):
        size *= 2
    return size


def _fits(step: Callable[[int], None], size: int) -> bool:
    try:
        step(size)
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
    return True
