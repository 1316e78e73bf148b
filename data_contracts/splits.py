"""Assign groups to splits: by a stable hash of the name, by AMASS's official split, or by names from the user.

AMASS clip names are paths with `_` for `/`: DATASET_SUBJECT_take, e.g. `ACCAD_Female1General_c3d_A1 - Stand_poses.npz`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from data_contracts.errors import InputError, some
from data_contracts.parameters import ALL, ConvertParameters, SplitBy

SPLITS = ("train", "val", "test")

# Source of the names and their spellings: amass.is.tue.mpg.de.
DATASETS = (
    *("ACCAD", "BMLhandball", "BMLmovi", "BMLrub", "CMU", "CNRS", "DanceDB", "DFaust", "EKUT", "EyesJapanDataset"),
    *("GRAB", "HDM05", "HUMAN4D", "HumanEva", "KIT", "MoSh", "PosePrior", "SFU", "SOMA", "SSM", "TCDHands"),
    *("TotalCapture", "Transitions", "WEIZMANN"),
)
# Other spellings of the names in archives and folders: letters and digits, lower case.
_SPELLINGS = {name.lower(): name for name in DATASETS} | {
    "biomotionlabntroje": "BMLrub", "dfaust67": "DFaust", "eyesjapan": "EyesJapanDataset", "mpihdm05": "HDM05",
    "mpimosh": "MoSh", "mpilimits": "PosePrior", "ssmsynced": "SSM", "tcdhandmocap": "TCDHands",
    "transitionsmocap": "Transitions",
}  # fmt: skip
_LONGEST = 3  # tokens in the name of a data set
_PREFIX = re.compile(r"^(?:amass_(?:\d+_)?)*", re.IGNORECASE)  # MotionBERT's clip list: AMASS_amass_202203_ACCAD_...

# Official splits: github.com/nghorbani/amass, notebooks and VPoser training, `amass_splits`; the rest is train.
OFFICIAL_SPLIT = {
    "HumanEva": "val", "HDM05": "val", "SFU": "val", "MoSh": "val", "Transitions": "test", "SSM": "test",
}  # fmt: skip


def split_groups(statistics: Mapping[str, Any], parameters: ConvertParameters) -> dict[str, str]:
    """Return the split (train, val or test) of each group of a clip store.

    `statistics` come from an ingest manifest and contain `groups`, and `datasets`: group -> AMASS data set or None.

    Raises
    ------
    InputError
        There are fewer groups than splits, a data set is unknown, a split is empty, a named group does not exist, or
        there are training groups without validation groups.
    """
    if parameters.split_by is SplitBy.GROUPS:
        every = sorted(statistics["groups"])
        test = every if parameters.test_groups == ALL else parameters.test_groups
        return _named_splits(every, {"val": parameters.val_groups, "test": test})
    if parameters.split_by is SplitBy.AMASS:
        return _official_splits({group: statistics["datasets"][group] for group in statistics["groups"]})
    return assign_splits(statistics["groups"], parameters.val_share, parameters.test_share, parameters.split_seed)


def _official_splits(datasets: Mapping[str, str | None]) -> dict[str, str]:
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
                f"convert.split_by=amass: split {split} is empty. Its data sets are"
                f" {', '.join(official) or 'all others'}; the clips are from"
                f" {some(sorted({str(dataset) for dataset in datasets.values()}))}. Pass --set convert.split_by=hash"
            )
    return splits


def _named_splits(groups: Iterable[str], named: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the split of each group: the split whose names contain the group, else train."""
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
            f" pass --set 'convert.val_groups=[...]', or --set convert.test_groups={ALL} to put all groups in test"
        )
    return splits


def assign_splits(groups: Iterable[str], val_share: float, test_share: float, seed: int = 0) -> dict[str, str]:
    """Return the split of each group; raise an InputError if there are fewer groups than splits.

    The hash of a group is a number in [0, 1): below `test_share` is test, below `test_share + val_share` is val, else
    train. An empty split gets the group with the nearest hash from a split that has several groups.
    """
    position = {group: _position(group, seed) for group in sorted(set(groups))}
    ranges = {"test": (0.0, test_share), "val": (test_share, test_share + val_share)}
    ranges["train"] = (test_share + val_share, 1.0)
    wanted = [split for split, (low, high) in ranges.items() if high > low]
    if len(position) < len(wanted):
        raise InputError(
            f"the splits {', '.join(wanted)} need a group each, but the clips have only {len(position)}:"
            f" {', '.join(position)}; pass a clip list with more subjects, or --set ingest.group_by=recording"
        )
    splits = {g: next(s for s, (low, high) in ranges.items() if low <= p < high) for g, p in position.items()}
    for split in sorted(wanted, key=lambda s: ranges[s]):
        if split not in splits.values():
            splits[_nearest(ranges[split], position, splits)] = split
    return splits


def _position(group: str, seed: int) -> float:
    """Return the hash of a group in [0, 1): 53 bits of the SHA-256 of `seed:group`."""
    return (int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") >> 11) / 2**53


def _nearest(bounds: tuple[float, float], position: Mapping[str, float], splits: Mapping[str, str]) -> str:
    taken = list(splits.values())
    movable = [group for group in position if taken.count(splits[group]) > 1]
    return min(movable, key=lambda group: max(bounds[0] - position[group], position[group] - bounds[1]))


def _no_group(name: str, split: str, groups: list[str]) -> str:
    bare = {group.lstrip("0").lower(): group for group in groups}
    close = [bare[name.lstrip("0").lower()]] if name.lstrip("0").lower() in bare else get_close_matches(name, groups)
    nearest = f" (did you mean {close[0]}?)" if close else ""
    return f"convert.{split}_groups: group {name} is not in the clips{nearest}; the clips have groups {some(groups)}"


def dataset_of(name: str) -> str | None:
    """Return the AMASS data set (canonical spelling) at the start of a clip's name, or None."""
    return _begin(name)[0]


def subject_of(name: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return the subject of a clip from its name; raise an InputError if the pattern does not match.

    `pattern` is a regular expression; its first group, or the whole match, is the subject. Default: the AMASS rule
    DATASET_SUBJECT, or the text before the second `_` of a name without an AMASS data set.
    """
    if pattern is not None:
        found = pattern.search(name)
        if found is None or not found[0]:
            raise InputError(
                f"clip {name}: ingest.group_pattern {pattern.pattern!r} does not match the name; pass a pattern that"
                " matches every clip name"
            )
        return found[1] if pattern.groups and found[1] else found[0]
    dataset, rest = _begin(name)
    if dataset is None:
        return "_".join(name.split("_")[:2]).removesuffix(".npz")
    return f"{dataset}_{rest[0].removesuffix('.npz')}" if rest else dataset


def _begin(name: str) -> tuple[str | None, list[str]]:
    tokens = _PREFIX.sub("", name).split("_")
    for count in range(min(_LONGEST, len(tokens)), 0, -1):
        spelling = re.sub(r"[^a-z0-9]", "", "".join(tokens[:count]).lower())
        if spelling in _SPELLINGS:
            return _SPELLINGS[spelling], tokens[count:]
    return None, tokens
