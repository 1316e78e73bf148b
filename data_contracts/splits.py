"""Splits by group: a stable hash, so that no group is in two splits and adding clips moves none.

Or AMASS's official split, by the data set that a group belongs to; or groups that the user names.
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
    """Split of each group of a clip store.

    Parameters
    ----------
    statistics
        Of the manifest of an ingest stage: `groups`, and `datasets`, the AMASS data set of each group or None.
    parameters
        `split_by` is read; for the hash, `val_share`, `test_share` and `split_seed`; else `val_groups`, `test_groups`.

    Raises
    ------
    InputError
        There are fewer groups than splits; or, by data set, a group's is unknown, or a split has none; or there is no
        group of a name given, or nobody to validate those that train.
    """
    if parameters.split_by is SplitBy.GROUPS:
        every = sorted(statistics["groups"])
        test = every if parameters.test_groups == ALL else parameters.test_groups
        return named_splits(every, {"val": parameters.val_groups, "test": test})
    if parameters.split_by is SplitBy.AMASS:
        return official_splits({group: statistics["datasets"][group] for group in statistics["groups"]})
    return assign_splits(statistics["groups"], parameters.val_share, parameters.test_share, parameters.split_seed)


def official_splits(datasets: Mapping[str, str | None]) -> dict[str, str]:
    """AMASS's official split of each group, from its data set.

    Raises
    ------
    InputError
        The data set of a group is unknown, or no group is in one of the splits.
    """
    unknown = [group for group, dataset in datasets.items() if dataset is None]
    if unknown:
        raise InputError(
            f"the AMASS data set of {len(unknown)} of {len(datasets)} groups is unknown ({some(unknown)}), so"
            " convert.split_by=amass cannot place them; pass --set convert.split_by=hash, or a clip list whose fname"
            " begins with the data set"
        )
    splits = {group: OFFICIAL_SPLIT.get(str(dataset), "train") for group, dataset in datasets.items()}
    for split in SPLITS:
        if split not in splits.values():
            official = [dataset for dataset, its_split in OFFICIAL_SPLIT.items() if its_split == split]
            raise InputError(
                f"with convert.split_by=amass no group is in split {split}: the file has nothing of"
                f" {', '.join(official) or 'the data sets to train on'}, only"
                f" {some(sorted({str(dataset) for dataset in datasets.values()}))}; pass --set convert.split_by=hash"
            )
    return splits


def named_splits(groups: Iterable[str], named: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Split of each group: the one for which it is `named`, else train.

    All groups may be tested: such windows are there to score models on. Who trains needs someone who validates.

    Raises
    ------
    InputError
        There is no group of a name given, or groups train and none validates.
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
            f"groups train ({some(training)}) and none validates: training keeps the epoch that is best on the people"
            " of val; name some of them with --set 'convert.val_groups=[...]', or test all with --set"
            f" convert.test_groups={ALL}"
        )
    return splits


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


def _no_group(name: str, split: str, groups: list[str]) -> str:
    bare = {group.lstrip("0").lower(): group for group in groups}
    close = [bare[name.lstrip("0").lower()]] if name.lstrip("0").lower() in bare else get_close_matches(name, groups)
    nearest = f" (did you mean {close[0]}?)" if close else ""
    return f"convert.{split}_groups: there is no group {name} in the clips{nearest}; there are {some(groups)}"
