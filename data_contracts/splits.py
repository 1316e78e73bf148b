"""Splits by group: a stable hash, so that no group is in two splits and adding clips moves none."""

import hashlib
from collections.abc import Iterable, Mapping

from data_contracts.errors import InputError

SPLITS = ("train", "val", "test")


def assign_splits(groups: Iterable[str], val_share: float, test_share: float, seed: int = 0) -> dict[str, str]:
    """Split of each group.

    A group's hash is a number in [0, 1): below `test_share` it is test, below `test_share + val_share` val, else train.
    Where few groups leave val, test or train empty, the group whose hash is nearest to that split's range goes there,
    taken from a split that has more than one.

    Parameters
    ----------
    groups
        Group of every clip; repetitions do not matter.
    val_share, test_share
        Expected shares of the groups.
    seed
        Salt of the hash.

    Raises
    ------
    InputError
        There are fewer groups than splits.
    """
    position = {group: group_position(group, seed) for group in sorted(set(groups))}
    ranges = {"test": (0.0, test_share), "val": (test_share, test_share + val_share)}
    ranges["train"] = (test_share + val_share, 1.0)
    wanted = [split for split, (low, high) in ranges.items() if high > low]
    if len(position) < len(wanted):
        raise InputError(
            f"{len(position)} group(s) ({', '.join(position)}) cannot fill the splits {', '.join(wanted)} without one"
            " group standing in two; give a clip list with more subjects, or pass --set ingest.group_by=recording"
        )
    splits = {g: next(s for s, (low, high) in ranges.items() if low <= p < high) for g, p in position.items()}
    for split in sorted(wanted, key=lambda s: ranges[s]):
        if split not in splits.values():
            splits[_nearest(ranges[split], position, splits)] = split
    return splits


def group_position(group: str, seed: int) -> float:
    """The group's place in [0, 1): the first 8 bytes of SHA-256 of `seed:group`, as a fraction of 53 bits."""
    return (int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") >> 11) / 2**53


def _nearest(bounds: tuple[float, float], position: Mapping[str, float], splits: Mapping[str, str]) -> str:
    taken = list(splits.values())
    movable = [group for group in position if taken.count(splits[group]) > 1]
    return min(movable, key=lambda group: max(bounds[0] - position[group], position[group] - bounds[1]))
