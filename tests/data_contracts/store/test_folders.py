import json
import threading

import pytest

from data_contracts.benchmarks.files import BenchmarkFiles
from data_contracts.benchmarks.protocols import Benchmark
from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters, PipelineParameters
from data_contracts.sources import MotionFile, find_keypoints
from data_contracts.store.digests import KINDS, StageKey, stage_key
from data_contracts.store.folders import find_stage, open_stage, resolve, resolve_checkpoint
from data_contracts.store.manifests import read_manifest

KEY = StageKey("clips", "ingest", IngestParameters(), {"source": "abc"})


def write(store, text="hello", key=KEY):
    with open_stage(store, key) as stage:
        if not stage.cached:
            (stage.folder / "data.txt").write_text(text)
            stage.counts["clips"] = 1
    return stage


def test_a_finished_stage_is_found_again_and_its_work_not_repeated(tmp_path):
    first = write(tmp_path)
    second = write(tmp_path, text="other")
    assert (first.cached, second.cached) == (False, True)
    assert (second.folder / "data.txt").read_text() == "hello"
    assert second.counts == {"clips": 1}
    assert find_stage(tmp_path, KEY).folder == first.folder


def test_a_failing_stage_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError, match="broke"), open_stage(tmp_path, KEY) as stage:
        (stage.folder / "half.txt").write_text("half")
        raise RuntimeError("broke")
    assert [path.name for path in (tmp_path / "clips").iterdir() if path.is_dir()] == []
    assert find_stage(tmp_path, KEY) is None


def test_the_partial_folder_of_a_killed_run_is_kept_only_for_a_stage_that_resumes(tmp_path):
    for resume in (False, True):
        partial = tmp_path / "clips" / f".{KEY.digest}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "last").write_text("state")
        with pytest.raises(RuntimeError), open_stage(tmp_path, KEY, resume=resume) as stage:
            assert (stage.folder / "last").exists() is resume
            raise RuntimeError


def test_a_refused_stage_that_wrote_nothing_leaves_no_partial_folder(tmp_path):
    with pytest.raises(InputError), open_stage(tmp_path, KEY, resume=True) as stage:
        raise InputError("refused")
    assert not stage.folder.exists()


def test_a_stage_is_resumed_only_if_its_work_sets_it_and_interrupted_only_if_a_partial_folder_exists(tmp_path):
    def run(key, resume, resumed=False):
        with open_stage(tmp_path, key, resume) as stage:
            stage.resumed = resumed
        return stage.interrupted, read_manifest(stage.folder)["code"]["resumed"]

    for number, resume in enumerate((False, True)):
        key = StageKey("clips", "ingest", IngestParameters(), {"source": f"{number}"})
        (tmp_path / "clips" / f".{key.digest}.partial").mkdir(parents=True)
        assert run(key, resume) == (True, False)  # nothing in the partial folder was used
    key = StageKey("clips", "ingest", IngestParameters(), {"source": "fresh"})
    assert run(key, True) == (False, False)
    key = StageKey("clips", "ingest", IngestParameters(), {"source": "continued"})
    (tmp_path / "clips" / f".{key.digest}.partial").mkdir(parents=True)
    assert run(key, True, resumed=True) == (True, True)


def test_the_digest_covers_parameters_and_inputs():
    others = [
        StageKey("clips", "ingest", IngestParameters(min_frames=31), {"source": "abc"}),
        StageKey("clips", "ingest", IngestParameters(), {"source": "abd"}),
        StageKey("clips", "other", IngestParameters(), {"source": "abc"}),
    ]
    assert len({KEY.digest, *(other.digest for other in others)}) == 4
    assert StageKey("clips", "ingest", IngestParameters(), {"source": "abc"}).digest == KEY.digest


def test_two_processes_at_once_do_the_work_once(tmp_path):
    started, results = threading.Barrier(2), []

    def work():
        started.wait()
        results.append(write(tmp_path).cached)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True]


def test_the_manifest_contains_parameters_inputs_versions_and_files(tmp_path):
    manifest = read_manifest(write(tmp_path).folder)
    assert manifest["parameters"] == IngestParameters().identity()
    assert manifest["inputs"] == {"source": "abc"}
    assert manifest["packages"]["numpy"]
    assert list(manifest["files"]) == ["data.txt"]


def test_a_folder_is_found_by_path_digest_and_beginning_of_the_digest(tmp_path):
    folder = write(tmp_path).folder
    for reference in (folder, KEY.digest, KEY.digest[:5]):
        assert resolve(tmp_path, "clips", reference) == folder.resolve()
    with pytest.raises(InputError, match="no finished clips folder"):
        resolve(tmp_path, "clips", "ffff")


def test_a_folder_of_another_kind_is_refused_with_its_stage_and_the_command_of_the_right_kind(tmp_path):
    folder = write(tmp_path).folder
    for reference in (folder, KEY.digest, KEY.digest[:5]):
        with pytest.raises(InputError, match=r"of kind windows .output of `uplift convert`.* output of stage ingest"):
            resolve(tmp_path, "windows", reference)
    with pytest.raises(InputError, match=r"`uplift pretrain` or `uplift finetune`"):
        resolve_checkpoint(tmp_path, folder)
    assert resolve(tmp_path, "*", folder) == folder.resolve()


def test_every_stage_has_the_kind_of_folder_in_KINDS(tmp_path):
    folder, parameters = write(tmp_path).folder, PipelineParameters()
    file = folder / "data.txt"
    keys = [
        stage_key("synthesise", {}, parameters.synthetic),
        stage_key("ingest", {"source": [MotionFile(file)]}, parameters.ingest),
        stage_key("convert", {"clips": folder}, parameters.convert),
        stage_key("pretrain", {"windows": folder}, parameters.pretrain),
        stage_key("finetune", {"windows": folder, "pretrained": file}, parameters.finetune),
        stage_key("baselines", {"windows": folder}, parameters.baselines),
        stage_key("evaluate", {"windows": folder, "checkpoint": file, "baselines": "abc"}, parameters.evaluate),
        stage_key("keypoints", {"source": find_keypoints(file)}, parameters.keypoints),
        stage_key("lift", {"keypoints": folder, "checkpoint": file}, parameters.lift),
        stage_key("benchmark", {"source": BenchmarkFiles(Benchmark.H36M, folder, (file,))}, parameters.keypoints),
        stage_key("score", {"benchmark": folder, "checkpoint": file}, parameters.lift),
    ]
    assert {key.name: key.kind for key in keys} == KINDS


def test_a_truncated_manifest_is_reported_by_name(tmp_path):
    folder = write(tmp_path).folder
    (folder / "manifest.json").write_text(json.dumps({})[:1])
    with pytest.raises(InputError, match=r"manifest\.json: the manifest is empty, damaged"):
        read_manifest(folder)
