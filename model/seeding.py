"""Random numbers that depend on where training stands, not on how it got there."""

import torch


def generator_at(device: torch.device | str, seed: int, epoch: int, step: int) -> torch.Generator:
    """A generator on `device` that depends on (seed, epoch, step) alone; step -1 draws the order of the epoch."""
    mixed = hash((seed, epoch, step)) & 0x7FFF_FFFF_FFFF_FFFF  # hash of ints does not vary between processes
    return torch.Generator(device=device).manual_seed(mixed)
