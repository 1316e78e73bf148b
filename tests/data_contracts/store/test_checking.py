"""A stage folder passes the check exactly if every byte is as its stage wrote it; damaged inputs stop a stage."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, IngestParameters, PretrainParameters
from data_contracts.store import digests
from data_contracts.store.checking import check_folder, verify_input
from data_contracts.store.digests import StageKey, stage_key
from data_contracts.store.folders import CHECKPOINT_FILE, find_stage, open_stage
from data_contracts.store.manifests import MANIFEST, read_manifest, write_manifest
from flows.cli import main

INGEST = StageKey("clips", "ingest", IngestParameters(), {"source": "abc"})


def write_clips(store, size=1000):
    with open_stage(store, INGEST) as stage:
        (stage.folder / "clips.parquet").write_bytes(np.random.default_rng(0).bytes(size))
        (stage.folder / "quarantine.csv").write_text("clip_id\n")
    return stage.folder


def write_windows(store, clips):
    with open_stage(store, stage_key("convert", {"clips": clips}, ConvertParameters())) as stage:
        for part in ("train/part-00000.parquet", "train/part-00001.parquet", "val/part-00000.parquet"):
            (stage.folder / part).parent.mkdir(exist_ok=True)
            (stage.folder / part).write_bytes(part.encode() * 100)
        stage.counts["windows"] = {"train": 2, "val": 1}
    return stage.folder


def flip(path, byte=-1, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def refused(folder):
    with pytest.raises(InputError) as refusal:
        check_folder(folder)
    return str(refusal.value)


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path)


@pytest.fixture
def windows(tmp_path, clips):
    return write_windows(tmp_path, clips)


def test_an_intact_folder_passes(clips, windows):
    checked = check_folder(clips)
    assert (checked.stage, checked.files) == ("ingest", 2)
    assert checked.bytes == sum((clips / name).stat().st_size for name in ("clips.parquet", "quarantine.csv"))
    assert check_folder(windows).files == 3


def test_the_reported_share_grows_to_one(windows):
    shares = []
    check_folder(windows, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_flipped_bit_in_any_file_is_found_and_the_error_names_the_file_and_the_command(windows, clips):
    random = np.random.default_rng(0)
    for path in sorted(path for path in windows.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for byte in (0, -1, *random.integers(0, len(data), 6)):
            flip(path, byte, int(random.integers(8)))
            message = refused(windows)
            assert path.name in message
            assert f"remove the folder {windows} and run `uplift convert " in message
            if path.name != MANIFEST:
                assert f"`uplift convert {clips.name}`" in message
            path.write_bytes(data)
    check_folder(windows)


def test_no_byte_of_a_manifest_can_change(clips):
    data = (clips / MANIFEST).read_bytes()
    for byte in range(len(data)):
        flip(clips / MANIFEST, byte, byte % 8)
        with pytest.raises(InputError, match=r"manifest\.json: the manifest is empty, damaged, edited"):
            read_manifest(clips)
        (clips / MANIFEST).write_bytes(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "\udcff",
        "[" * 5000 + "]" * 5000,
        '{"files":' * 5000 + "{}" + "}" * 5000,
    ],
)
def test_an_empty_damaged_or_nested_manifest_is_refused_with_the_command(clips, text):
    (clips / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"manifest is empty, damaged, edited, .* run `uplift ingest SOURCE` again"):
        read_manifest(clips)


def test_a_sealed_manifest_that_is_nested_or_incomplete_is_refused_too(clips):
    write_manifest(clips, {"stage": "ingest"})
    with pytest.raises(InputError, match="the manifest is empty, damaged"):
        read_manifest(clips)
    text = '{"files":' * 5000 + "{}" + "}" * 4999
    (clips / MANIFEST).write_text(sealed(text))
    with pytest.raises(InputError, match="the manifest is empty, damaged"):
        read_manifest(clips)


def sealed(text):
    return f'{text},\n "manifest_digest": "{hashlib.sha256(text.encode()).hexdigest()}"\n}}'


def test_missing_unlisted_and_truncated_files_are_reported_together(windows):
    (windows / "train/part-00000.parquet").unlink()
    (windows / "train/part-00001.parquet").write_bytes(b"short")
    shutil.copy(windows / "val/part-00000.parquet", windows / "val/part-00007.parquet")
    (windows / ".DS_Store").touch()
    message = refused(windows)
    assert "train/part-00000.parquet: is missing" in message
    assert "train/part-00001.parquet: its SHA-256 is not the one in manifest.json" in message
    assert "val/part-00007.parquet: is not listed in manifest.json" in message
    assert ".DS_Store" not in message


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a finished stage folder"):
        check_folder(tmp_path)


def test_a_stage_with_a_damaged_input_is_not_computed_and_a_cached_one_does_not_read_its_input(tmp_path, windows):
    cached = stage_key("pretrain", {"windows": windows}, PretrainParameters())
    with open_stage(tmp_path, cached):
        pass
    other = stage_key("pretrain", {"windows": windows}, PretrainParameters(seed=5))
    flip(windows / "train/part-00000.parquet")
    refusal = pytest.raises(InputError, match=r"train/part-00000\.parquet: its SHA-256 .* run `uplift convert")
    with refusal, open_stage(tmp_path, other):
        raise AssertionError("the stage was computed")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == [cached.digest]
    with open_stage(tmp_path, cached) as stage:
        assert stage.cached


def test_a_damaged_checkpoint_of_a_run_stops_a_stage_and_other_checkpoints_are_accepted(tmp_path, windows):
    with open_stage(tmp_path, stage_key("pretrain", {"windows": windows}, PretrainParameters())) as stage:
        (stage.folder / CHECKPOINT_FILE).write_bytes(b"weights")
    checkpoint = stage.folder / CHECKPOINT_FILE
    verify_input(checkpoint)
    flip(checkpoint)
    with pytest.raises(InputError, match=rf"model\.safetensors: its SHA-256 .* run `uplift pretrain {windows.name}`"):
        verify_input(checkpoint)
    for manifest in ("", "{}", '{"name": "an extension"}'):  # of another program
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / MANIFEST).write_text(manifest)
        verify_input(Path(shutil.copy(checkpoint, tmp_path / "mine")))


def test_a_process_hashes_a_folder_once(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NANOSECONDS", -1)  # every state is old enough
    hashed, digest = [], digests.file_digest
    other = write_clips(tmp_path / "a")
    monkeypatch.setattr(digests, "file_digest", lambda path: hashed.append(path) or digest(path))
    for _ in range(3):
        verify_input(other)
    assert sorted(hashed) == [other / "clips.parquet", other / "quarantine.csv"]
    flip(other / "clips.parquet")
    with pytest.raises(InputError):
        verify_input(other)
    assert hashed[2:] == [other / "clips.parquet"]


def test_a_file_that_was_just_written_is_hashed_again(tmp_path):
    folder = write_clips(tmp_path)
    state = (folder / "clips.parquet").stat()
    check_folder(folder)
    flip(folder / "clips.parquet")
    assert (folder / "clips.parquet").stat().st_size == state.st_size
    refused(folder)


def test_a_result_without_one_of_its_files_is_not_found_and_the_error_names_the_command(clips, tmp_path):
    (clips / "clips.parquet").unlink()
    with pytest.raises(
        InputError,
        match=r"incomplete, missing clips\.parquet; remove the folder .* and run `uplift ingest SOURCE` again",
    ):
        find_stage(tmp_path, INGEST)
    shutil.rmtree(clips)
    assert find_stage(tmp_path, INGEST) is None


def test_a_result_under_the_digest_of_another_stage_is_not_found(clips, windows, tmp_path):
    shutil.rmtree(windows)
    shutil.copytree(clips, windows)
    with pytest.raises(InputError, match=f"manifest.json belongs to ingest {clips.name}"):
        find_stage(tmp_path, stage_key("convert", {"clips": clips}, ConvertParameters()))


def test_the_command_prints_one_line_and_ends_with_2_on_a_fault(clips, tmp_path, monkeypatch, capsys):
    def uplift(*arguments):
        monkeypatch.setattr(sys, "argv", ["uplift", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    code, out, err = uplift(clips.name[:6], "--store", tmp_path, "--json")
    assert code == 0, err
    assert json.loads(out)["stage"] == "ingest"
    assert "2 files, 0.0 MB match the manifest" in err
    flip(clips / "clips.parquet")
    code, _, err = uplift(clips)
    assert code == 2
    assert (
        err.strip()
        .splitlines()[-1]
        .startswith(
            f"uplift: {clips}: the result is damaged: clips.parquet: its SHA-256 is not the one in manifest.json"
        )
    )
