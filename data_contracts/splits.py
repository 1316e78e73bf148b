"""Assign groups to splits: by a stable hash, by AMASS's official split, or by names given by the user.

The hash depends on the group name only, so additional clips do not change the split of a group.
"""

import hashlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from data_contracts.amass import OFFICIAL_SPLIT
from data_contracts.errors import InputError, some
from data_contracts.parameters import ALL, ConvertParameters, SplitBy

SPLITS = ("train", "val", "test")


def split_groups(statistics: Mapping[str, Any], parameters: ConvertParameters) -> dict[str, str]:
    """Return the split of each group of a clip store.

    Parameters
    ----------
    statistics
        Statistics of an ingest manifest: `groups`, and `datasets`, the AMASS data set of each group or None.
    parameters
        `split_by`, with `val_share`, `test_share` and `split_seed` for the hash, else `val_groups`, `test_groups`.

    Raises
    ------
    InputError
        There are fewer groups than splits, a data set is unknown, a split is empty, a named group does not exist, or
        there are training groups without validation groups.
    """
    if parameters.split_by is SplitBy.GROUPS:
        every = sorted(statistics["groups"])
        test = every if parameters.test_groups == ALL else parameters.test_groups
        return named_splits(every, {"val": parameters.val_groups, "test": test})
    if parameters.split_by is SplitBy.AMASS:
        return official_splits({group: statistics["datasets"][group] for group in statistics["groups"]})
    return assign_splits(statistics["groups"], parameters.val_share, parameters.test_share, parameters.split_seed)


def official_splits(datasets: Mapping[str, str | None]) -> dict[str, str]:
    """Return AMASS's official split of each group, from its data set.

    Raises
    ------
    InputError
        The data set of a group is unknown, or no group is in one of the splits.
    """
    unknown = [group for group, dataset in datasets.items() if dataset is None]
    if unknown:
        raise InputError(
            f"convert.split_by=amass: the AMASS data set of {len(unknown)} of {len(datasets)} groups is unknown"
            f" ({some(unknown)}); pass --set convert.split_by=hash, or a clip list whose fname begins with the data set"
        )
    splits = {group: OFFICIAL_SPLIT.get(str(dataset), "train") for group, dataset in datasets.items()}
    for split in SPLITS:
        if split not in splits.values():
            official = [dataset for dataset, its_split in OFFICIAL_SPLIT.items() if its_split == split]
            raise InputError(
                f"convert.split_by=amass: split {split} is empty; it needs {', '.join(official) or 'training data'},"
                f" the file has {some(sorted({str(dataset) for dataset in datasets.values()}))}; pass --set"
                " convert.split_by=hash"
            )
    return splits


def named_splits(groups: Iterable[str], named: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the split of each group: the split that names it, else train.

    All groups may be test groups, for windows that only score models. Training groups need a validation group.

    Raises
    ------
    InputError
        A named group does not exist, or there are training groups without validation groups.
    """
    splits = dict.fromkeys(groups, "train")
    for split, names in named.items():
        for name in names:
            if name not in splits:
                raise InputError(_no_group(name, split, list(splits)))
            splits[name] = split
    training = [group for group, split in splits.items() if split == "train"]
    if training and "val" not in splits.values():
        raise InputError(
            f"no validation group for the training groups ({some(training)}): training selects its best epoch on val;"
            f" pass --set 'convert.val_groups=[...]', or --set convert.test_groups={ALL} to test all"
        )
    return splits


def assign_splits(groups: Iterable[str], val_share: float, test_share: float, seed: int = 0) -> dict[str, str]:
    """Return the split of each group.

    The hash of a group is a number in [0, 1): below `test_share` is test, below `test_share + val_share` is val, else
    train. An empty split gets the group with the nearest hash from a split that has several groups.

    Parameters
    ----------
    groups
        Group of every clip; repetitions have no effect.
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
            f"{len(position)} group(s) ({', '.join(position)}) cannot fill the splits {', '.join(wanted)}; pass a"
            " clip list with more subjects, or --set ingest.group_by=recording"
        )
    splits = {g: next(s for s, (low, high) in ranges.items() if low <= p < high) for g, p in position.items()}
    for split in sorted(wanted, key=lambda s: ranges[s]):
        if split not in splits.values():
            splits[_nearest(ranges[split], position, splits)] = split
    return splits


def group_position(group: str, seed: int) -> float:
    """Return the hash of a group in [0, 1): the first 8 bytes of SHA-256 of `seed:group`, as a 53-bit fraction."""
    return (int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") >> 11) / 2**53


def _nearest(bounds: tuple[float, float], position: Mapping[str, float], splits: Mapping[str, str]) -> str:
    taken = list(splits.values())
    movable = [group for group in position if taken.count(splits[group]) > 1]
    return min(movable, key=lambda group: max(bounds[0] - position[group], position[group] - bounds[1]))


def _no_group(name: str, split: str, groups: list[str]) -> str:
    bare = {group.lstrip("0").lower(): group for group in groups}
    close = [bare[name.lstrip("0").lower()]] if name.lstrip("0").lower() in bare else get_close_matches(name, groups)
    nearest = f" (did you mean {close[0]}?)" if close else ""
    return f"convert.{split}_groups: group {name} is not in the clips{nearest}; the clips have {some(groups)}"
