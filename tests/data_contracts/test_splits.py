import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, SplitBy
from data_contracts.splits import assign_splits, split_groups

names = st.lists(st.text(min_size=1, max_size=6), min_size=3, max_size=40, unique=True)


@given(names)
def test_every_group_is_in_one_split_and_no_split_is_empty(groups):
    splits = assign_splits(groups + groups, 0.15, 0.15)
    assert set(splits) == set(groups)
    assert set(splits.values()) == {"train", "val", "test"}


@given(names, names)
def test_adding_groups_moves_none(old, new):
    old = [f"old-{i}" for i in range(40)] + old  # enough groups that no split has to be filled by hand
    before = assign_splits(old, 0.15, 0.15)
    after = assign_splits(old + new, 0.15, 0.15)
    assert all(after[group] == before[group] for group in old)


def test_shares_are_kept_in_expectation():
    splits = list(assign_splits([str(i) for i in range(20_000)], 0.1, 0.2).values())
    assert abs(splits.count("val") / 20_000 - 0.1) < 0.01
    assert abs(splits.count("test") / 20_000 - 0.2) < 0.01


def test_fewer_groups_than_splits_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"ingest\.group_by=recording"):
        assign_splits(["one", "two"], 0.15, 0.15)


def test_the_default_holds_out_a_body_that_training_never_sees(cmu_folder):
    """In the CMU data, 02 and c2s share a skeleton, and so do 60, 61 and 94; 01 shares none."""
    p = ConvertParameters()
    splits = assign_splits(["01", "02", "60", "61", "94", "c2s"], p.val_share, p.test_share, p.split_seed)
    assert [group for group, split in splits.items() if split == "test"] == ["01"]


OFFICIAL = ConvertParameters(split_by=SplitBy.AMASS)
DATASETS = {
    "CMU_01": "CMU",
    "KIT_3": "KIT",
    "SFU_5": "SFU",
    "HDM05_bk": "HDM05",
    "SSM_1": "SSM",
    "Transitions_m": "Transitions",
}


def statistics(datasets):
    return {"groups": dict.fromkeys(datasets, 1), "datasets": datasets}


def test_the_official_split_goes_by_data_set():
    splits = split_groups(statistics(DATASETS), OFFICIAL)
    assert list(splits.values()) == ["train", "train", "val", "val", "test", "test"]


def test_without_it_the_hash_decides_whatever_the_data_sets_are():
    p = ConvertParameters()
    expected = assign_splits(DATASETS, p.val_share, p.test_share, p.split_seed)
    assert split_groups(statistics(dict.fromkeys(DATASETS)), p) == expected


def test_groups_of_no_known_data_set_are_refused_by_name_with_the_way_out():
    unknown = {f"p{i}": None for i in range(7)}
    with pytest.raises(InputError, match=r"7 of 13 groups .*p0, p1, p2, p3, p4 and 2 more.*convert\.split_by=hash"):
        split_groups(statistics(DATASETS | unknown), OFFICIAL)


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (("CMU_01", "SSM_1"), "val is empty. Its data sets are HumanEva, HDM05, SFU, MoSh; the clips are from CMU,"),
        (("CMU_01", "SFU_5"), "split test is empty. Its data sets are Transitions, SSM; the clips are from CMU, SFU"),
        (("SFU_5", "SSM_1"), "split train is empty. Its data sets are all others; the clips are from SFU, SSM"),
    ],
)
def test_an_empty_split_is_refused_with_the_data_sets_it_needs(left, message):
    with pytest.raises(InputError, match=message):
        split_groups(statistics({group: DATASETS[group] for group in left}), OFFICIAL)


PEOPLE = statistics(dict.fromkeys(["S1", "S5", "S9", "S11"]))


def by_name(**lists):
    return ConvertParameters(split_by=SplitBy.GROUPS, **lists)


def test_named_groups_are_validated_and_tested_on_and_the_others_train():
    splits = split_groups(PEOPLE, by_name(val_groups=["S5"], test_groups=["S9", "S11"]))
    assert splits == {"S1": "train", "S5": "val", "S9": "test", "S11": "test"}


def test_all_groups_may_be_tested_and_none_trained():
    expected = dict.fromkeys(PEOPLE["groups"], "test")
    assert split_groups(PEOPLE, by_name(test_groups="all")) == expected
    assert split_groups(PEOPLE, by_name(test_groups=list(expected))) == expected


def test_who_trains_needs_someone_who_validates():
    with pytest.raises(
        InputError, match=r"no validation group for the training groups \(S1, S5\).*convert\.val_groups"
    ):
        split_groups(PEOPLE, by_name(test_groups=["S9", "S11"]))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_name_that_no_group_has_is_refused_with_the_nearest_and_those_there_are(split):
    lists = {"val_groups": ["S1"], "test_groups": ["S9"]} | {f"{split}_groups": ["S12"]}
    message = rf"convert\.{split}_groups: group S12 is not in the clips .*mean S1\?.*clips have groups S1, S11, S5, S9"
    with pytest.raises(InputError, match=message):
        split_groups(PEOPLE, by_name(**lists))


def test_the_nearest_name_is_the_one_without_its_zeros():
    numbers = statistics(dict.fromkeys(["01", "10", "61"]))
    with pytest.raises(InputError, match=r"group 1 is not in the clips \(did you mean 01\?\)"):
        split_groups(numbers, by_name(val_groups=["61"], test_groups=["1"]))
