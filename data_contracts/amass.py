"""AMASS names: data set and subject of a clip, and the official split by data set.

Clip names are paths with `_` for `/`: DATASET_SUBJECT_take, such as `ACCAD_Female1General_c3d_A1 - Stand_poses.npz`.
"""

import re

from data_contracts.errors import InputError

# Canonical name, and how archives and folders spell it (letters and digits, lower case). Source: amass.is.tue.mpg.de.
DATASETS = {
    "ACCAD": ("accad",),
    "BMLhandball": ("bmlhandball",),
    "BMLmovi": ("bmlmovi",),
    "BMLrub": ("bmlrub", "biomotionlabntroje"),
    "CMU": ("cmu",),
    "CNRS": ("cnrs",),
    "DanceDB": ("dancedb",),
    "DFaust": ("dfaust67", "dfaust"),
    "EKUT": ("ekut",),
    "EyesJapanDataset": ("eyesjapandataset", "eyesjapan"),
    "GRAB": ("grab",),
    "HDM05": ("mpihdm05", "hdm05"),
    "HUMAN4D": ("human4d",),
    "HumanEva": ("humaneva",),
    "KIT": ("kit",),
    "MoSh": ("mpimosh", "mosh"),
    "PosePrior": ("mpilimits", "poseprior"),
    "SFU": ("sfu",),
    "SOMA": ("soma",),
    "SSM": ("ssmsynced", "ssm"),
    "TCDHands": ("tcdhandmocap", "tcdhands"),
    "TotalCapture": ("totalcapture",),
    "Transitions": ("transitionsmocap", "transitions"),
    "WEIZMANN": ("weizmann",),
}
# Official splits: github.com/nghorbani/amass, notebooks and VPoser training, `amass_splits`; the rest is train.
OFFICIAL_SPLIT = {
    "HumanEva": "val", "HDM05": "val", "SFU": "val", "MoSh": "val", "Transitions": "test", "SSM": "test",
}  # fmt: skip

_PREFIX = re.compile(r"^(?:amass_(?:\d+_)?)*", re.IGNORECASE)  # MotionBERT's clip list: AMASS_amass_202203_ACCAD_...
_LONGEST = 3  # tokens in the name of a data set
_SPELLINGS = {spelling: name for name, spellings in DATASETS.items() for spelling in spellings}


def dataset_of(name: str) -> str | None:
    """Return the canonical AMASS data set at the start of a clip's name, or None."""
    return _begin(name)[0]


def subject_of(name: str, pattern: str | None = None) -> str:
    """Return the subject of a clip from its name.

    Parameters
    ----------
    pattern
        Regular expression to search in the name; its first group, or the whole match, is the subject. Default: the
        AMASS rule DATASET_SUBJECT, or the text before the second `_` of a name without an AMASS data set.

    Raises
    ------
    InputError
        The pattern does not match.
    """
    if pattern is not None:
        found = re.search(pattern, name)
        if found is None:
            raise InputError(f"clip {name}: ingest.group_pattern {pattern!r} does not match the name")
        return found[1] if found.re.groups and found[1] else found[0]
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
