"""Random numbers and the order of windows: both depend only on seed, epoch and step, also in a resumed training.

A pool is the unit of shuffling, for windows in memory and on disk. Row groups are shuffled and cut into pools of up to
`POOL_BYTES`, and the rows of each pool are shuffled. So the memory limit does not change results.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_contracts.skeleton import NUM_JOINTS

ORDER, MIRRORED, SAMPLED = -1, -3, -4  # in place of a step in `generator_at`
POOL_BYTES = 512 << 20


def generator_at(device: torch.device | str, seed: int, epoch: int, step: int) -> torch.Generator:
    """Return a generator on `device`, seeded by (seed, epoch, step); `step` may be a constant of this module."""
    digest = hashlib.sha256(f"{seed} {epoch} {step}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class Pool:
    """Row groups that are in memory together, and the order (n,) in which their n rows are used."""

    groups: list[int]
    order: Tensor


def pools_in_order(row_groups: Sequence[int], window: int) -> list[Pool]:
    """Return pools of all rows in stored order; `row_groups`: rows of each group; `window`: frames of a row."""
    return [
        Pool(groups, torch.arange(sum(row_groups[group] for group in groups)))
        for groups in _cut(range(len(row_groups)), row_groups, window)
    ]


def shuffled_pools(row_groups: Sequence[int], window: int, seed: int, epoch: int) -> list[Pool]:
    """Return pools with every row once, in an order determined by (seed, epoch), the row groups and `POOL_BYTES`."""
    draws = generator_at("cpu", seed, epoch, ORDER)
    cut = _cut(range(len(row_groups)), row_groups, window)
    if len(cut) > 1:
        cut = _cut(torch.randperm(len(row_groups), generator=draws).tolist(), row_groups, window)
    return [Pool(groups, torch.randperm(sum(row_groups[g] for g in groups), generator=draws)) for groups in cut]


def order_of(row_groups: Sequence[int], window: int, seed: int, epoch: int) -> Tensor:
    """Return the positions (n,) of all rows in the order of `shuffled_pools`."""
    rows = torch.arange(sum(row_groups)).split(list(row_groups))
    pools = shuffled_pools(row_groups, window, seed, epoch)
    return torch.cat([torch.cat([rows[group] for group in pool.groups])[pool.order] for pool in pools])


def mirrored_of(count: int, seed: int, epoch: int) -> Tensor:
    """Draw (count,) bool, true with probability 1/2: whether each window is mirrored, in the order of use."""
    return torch.rand(count, generator=generator_at("cpu", seed, epoch, MIRRORED)) < 0.5


def window_bytes(window: int, placed: bool = False) -> int:
    """Return the bytes of the poses of one window of `window` frames, and with `placed` of its root trajectory."""
    return 4 * window * (2 * NUM_JOINTS * 3 + 3 * placed)


def _cut(groups: Iterable[int], row_groups: Sequence[int], window: int) -> list[list[int]]:
    """Split `groups`, in their order, into pools of at most `POOL_BYTES`."""
    cut: list[list[int]] = []
    room = 0
    for group in groups:
        size = row_groups[group] * window_bytes(window)
        if not cut or size > room:
            cut.append([])
            room = POOL_BYTES
        cut[-1].append(group)
        room -= size
    return cut
