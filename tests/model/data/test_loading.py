import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.parameters import TrainingParameters
from data_contracts.skeleton import MIRROR
from data_contracts.windows import to_numpy
from model.data.augmentation import stored_cameras
from model.data.batches import Batch
from model.data.loading import Epochs, StreamedWindows, TrainingWindows, WindowTensors, load_windows
from model.data.seeding import ORDER, generator_at, mirrored_of
from model.poses import mirror


def mirrored_steps(train):
    parameters = TrainingParameters(seed=4, batch_size=16, flip=True)
    return (step.windows for step in Epochs(TrainingWindows(train, train), parameters).steps(2, 0, torch.device("cpu")))


def test_mirror_twice_is_identity_and_exchanges_sides():
    pose = torch.randn(2, 5, 17, 3)
    assert torch.equal(mirror(mirror(pose)), pose)
    mirrored = mirror(pose)
    assert torch.equal(mirrored[..., 1:], pose[:, :, list(MIRROR), 1:])
    assert torch.equal(mirrored[..., 0], -pose[:, :, list(MIRROR), 0])


@pytest.mark.parametrize("flags", [[True, False, True], [False] * 3, [True] * 3])
def test_only_the_chosen_windows_are_mirrored_and_the_source_stays(windows, flags):
    train, _ = windows
    before = train.pose_2d.clone()
    batch = train.pick([5, 0, 7])
    batch.mirror_(torch.tensor(flags))
    for row, (index, flag) in enumerate(zip([5, 0, 7], flags, strict=True)):
        for name in ("pose_2d", "pose_3d"):
            pose = getattr(train, name)[index]
            assert torch.equal(getattr(batch, name)[row], mirror(pose) if flag else pose)
    assert torch.equal(train.pose_2d, before)


def test_a_split_in_memory_holds_what_its_files_hold(windows_folder):
    loaded = load_windows(windows_folder, "train")
    assert isinstance(loaded, WindowTensors)
    files = sorted((windows_folder / "train").glob("*.parquet"))
    table = arrow.concat_tables(parquet.read_table(file, partitioning=None) for file in files)
    pose_2d, pose_3d = to_numpy(table, "pose_2d"), to_numpy(table, "pose_3d")
    scale = table["scale"].to_numpy()
    np.testing.assert_array_equal(loaded.pose_2d, pose_2d)
    np.testing.assert_array_equal(loaded.pose_3d, pose_3d * scale[:, None, None, None])
    np.testing.assert_array_equal(loaded.scale, scale)
    np.testing.assert_array_equal(loaded.frame_weight, (pose_2d[..., 2] > 0).any(axis=-1))
    assert loaded.rows["window_id"].tolist() == table["window_id"].to_pylist()
    assert sum(loaded.row_groups) == len(loaded) == len(table)


@pytest.mark.parametrize("memory_gb", [None, 1e-9])
def test_how_windows_are_placed_is_read_where_it_is_asked_for(windows_folder, memory_gb):
    file = windows_folder / "train" / "part-00001.parquet"
    table = parquet.read_table(file, partitioning=None)
    place = table.schema.get_field_index("projection")
    other = arrow.array(["perspective"] * len(table))
    parquet.write_table(table.set_column(place, "projection", other), file, row_group_size=20)
    bare = load_windows(windows_folder, "train", memory_gb)
    placed = load_windows(windows_folder, "train", memory_gb, placed=True)
    files = sorted((windows_folder / "train").glob("*.parquet"))
    table = arrow.concat_tables(parquet.read_table(file, partitioning=None) for file in files)
    batch = Batch.join(list(placed.batches(64)))
    np.testing.assert_array_equal(batch.root_3d, to_numpy(table, "root_3d"))
    np.testing.assert_array_equal(batch.pitch_deg, table["pitch_deg"].to_numpy())
    np.testing.assert_array_equal(batch.roll_deg, table["roll_deg"].to_numpy())
    np.testing.assert_array_equal(
        batch.perspective, [name == "perspective" for name in table["projection"].to_pylist()]
    )
    assert batch.perspective.any()
    assert not batch.perspective.all()
    for some, other in zip(bare.batches(64), placed.batches(64), strict=True):
        assert some.root_3d is some.pitch_deg is some.perspective is None
        assert torch.equal(some.pose_2d, other.pose_2d)


def test_a_mirror_image_stands_where_its_mirror_shows_it(windows_folder):
    kept = load_windows(windows_folder, "train", placed=True)
    streamed = load_windows(windows_folder, "train", 1e-9, placed=True)
    mirrored = mirrored_of(len(kept), 4, 2).split(16)
    steps = (mirrored_steps(kept), mirrored_steps(streamed), kept.steps(4, 2, 16), mirrored)
    for one, other, stored, flags in zip(*steps, strict=True):
        wanted = stored.root_3d.clone()
        wanted[flags, :, 0] *= -1
        for batch in (one, other):
            assert torch.equal(batch.root_3d, wanted)
            assert torch.equal(batch.pitch_deg, stored.pitch_deg)
            assert torch.equal(batch.perspective, stored.perspective)


def test_a_mirrored_person_stands_as_upright_as_the_person(windows_folder):
    windows = load_windows(windows_folder, "train", placed=True)
    assert windows.roll_deg.abs().amax() > 2
    mirrored = windows.select(torch.arange(len(windows)))
    mirrored.mirror_(torch.ones(len(windows), dtype=torch.bool))
    heights, others = (
        torch.einsum("btjc,bc->btj", batch.pose_3d, stored_cameras(batch).rotation[:, :, 2])
        for batch in (windows, mirrored)
    )
    torch.testing.assert_close(others, heights[..., list(MIRROR)])


def test_one_pool_is_fed_in_the_order_of_one_permutation(windows):
    train, _ = windows
    fed = torch.cat([batch.pose_2d for batch in train.steps(seed=4, epoch=2, size=16)])
    generator = generator_at("cpu", 4, 2, ORDER)
    assert torch.equal(fed, train.pose_2d[torch.randperm(len(train), generator=generator)])


def test_half_of_the_windows_come_as_their_mirror_images(windows_folder):
    train = load_windows(windows_folder, "train")
    count, mirrored = 0, mirrored_of(len(train), 4, 2)
    steps = zip(train.steps(4, 2, 16), mirrored_steps(train), mirrored.split(16), strict=True)
    for plain, one, flags in steps:
        chosen = flags.view(-1, 1, 1, 1)
        for name in ("pose_2d", "pose_3d"):
            pose = getattr(plain, name)
            wanted = torch.where(chosen, mirror(pose), pose)
            assert torch.equal(getattr(one, name), wanted)
        assert torch.equal(one.scale, plain.scale)
        assert torch.equal(one.frame_weight, plain.frame_weight)
        count += int(flags.sum())
    assert 0.4 < count / len(train) < 0.6
    assert not torch.equal(mirrored, mirrored_of(len(train), 4, 3))


def test_memory_decides_whether_a_split_is_streamed(windows_folder):
    assert isinstance(load_windows(windows_folder, "train", memory_gb=1e-6), StreamedWindows)
    assert isinstance(load_windows(windows_folder, "train", memory_gb=1.0), WindowTensors)


def test_a_missing_and_an_empty_split_are_refused(windows_folder):
    with pytest.raises(InputError, match="no windows in split 'test'"):
        load_windows(windows_folder, "test")
    (windows_folder / "test").mkdir()
    table = parquet.read_table(windows_folder / "val" / "part-00000.parquet", partitioning=None)
    parquet.write_table(table[:0], windows_folder / "test" / "part-00000.parquet")
    with pytest.raises(InputError, match="split 'test' is empty"):
        load_windows(windows_folder, "test")


def test_columns_that_do_not_fit_are_refused(windows_folder):
    file = windows_folder / "val" / "part-00000.parquet"
    table = parquet.read_table(file, partitioning=None)

    def refused(changed: arrow.Table, message: str) -> None:
        parquet.write_table(changed, file)
        with pytest.raises(InputError, match=message) as refusal:
            load_windows(windows_folder, "val")
        assert str(windows_folder / "val") in str(refusal.value)

    place = table.schema.get_field_index("pose_3d")
    for width, message in ((17 * 12 * 9 + 4, "pose_3d is fixed_size_binary"), (17 * 12 * 8, "differ in length")):
        column = arrow.array([bytes(width)] * len(table), arrow.binary(width))
        refused(table.set_column(place, "pose_3d", column), message)
    refused(table.drop_columns(["scale"]), "missing columns: scale")
    parquet.write_table(table, file)
    longer = arrow.array([bytes(17 * 12 * 10)] * len(table), arrow.binary(17 * 12 * 10))
    other = table.set_column(place, "pose_3d", longer)
    other = other.set_column(table.schema.get_field_index("pose_2d"), "pose_2d", longer)
    parquet.write_table(other, file.with_name("part-00001.parquet"))
    with pytest.raises(InputError, match=r"windows of different lengths, \[9, 10\] frames"):
        load_windows(windows_folder, "val")


@pytest.mark.parametrize("kept", [0, 3, 1000, -50])
def test_a_truncated_file_is_named(windows_folder, kept):
    file = windows_folder / "train" / "part-00001.parquet"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"train/part-00001\.parquet: cannot be read"):
        load_windows(windows_folder, "train")


@pytest.mark.parametrize(("train", "val", "count"), [(103, 50, 5), (4000, 60, 60), (100_000, 9000, 512), (7, 3, 1)])
def test_training_windows_are_sampled_evenly_and_few_of_them(train, val, count):
    places = TrainingWindows(range(train), range(val)).sampled().tolist()
    assert len(places) == count
    assert all(part * train // count <= place < (part + 1) * train / count for part, place in enumerate(places))
