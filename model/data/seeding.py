"""Random numbers that depend on the position in training (seed, epoch, step), not on how training reached it."""

import hashlib

import torch

ORDER, MIRRORED, SAMPLED = -1, -3, -4  # used in place of a step


def generator_at(device: torch.device | str, seed: int, epoch: int, step: int) -> torch.Generator:
    """Return a generator on `device` that depends only on (seed, epoch, step), the same in every version of Python.

    `step` is the number of a step, or one of `ORDER`, `MIRRORED` and `SAMPLED`.
    """
    digest = hashlib.sha256(f"{seed} {epoch} {step}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
