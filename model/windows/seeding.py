"""Random numbers that depend on where training stands, not on how it got there."""

import torch

ORDER, MIRRORED, SAMPLED = -1, -3, -4  # in place of a step; Python gives -1 and -2 the same hash


def generator_at(device: torch.device | str, seed: int, epoch: int, step: int) -> torch.Generator:
    """A generator on `device` that depends on (seed, epoch, step) alone; step: also `ORDER` and the like."""
    mixed = hash((seed, epoch, step)) & 0x7FFF_FFFF_FFFF_FFFF  # hash of ints does not vary between processes
    return torch.Generator(device=device).manual_seed(mixed)
