"""Import and scores of generated benchmarks with the lifter of the package."""

import json
import sys
from dataclasses import replace

import pytest

from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.parameters import KeypointsParameters, LiftParameters
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import stage_key
from data_contracts.store.manifests import SHIPPED_RUN, read_manifest
from flows.cli import main
from model.scoring.benchmarks import score_clip
from tasks.benchmarks.importing import READERS, import_files, protocol_lines
from tasks.benchmarks.scoring import score_benchmark
from tasks.stage import Context
from tests.model.lifting.walkers import flat_lifter
from tests.tasks.benchmarks.benchmark_files import write_3dhp_npz, write_3dpw, write_h36m

WRITERS = {Benchmark.THREE_DPW: write_3dpw, Benchmark.MPI_INF_3DHP: write_3dhp_npz, Benchmark.H36M: write_h36m}


@pytest.mark.parametrize("benchmark", Benchmark)
def test_the_shipped_lifter_scores_plausibly_on_each_benchmark(benchmark, walking, tmp_path, parameters):
    files = find_benchmark(benchmark, WRITERS[benchmark](tmp_path / "files", walking))
    context = Context(tmp_path / "store", parameters, tracked=False)
    imported = import_files(context, files)
    assert import_files(context, files).cached
    check_folder(imported.path)
    facts = read_manifest(imported.path)["statistics"]
    assert facts["licence"] == PROTOCOLS[benchmark].page
    assert facts["subjects"] == sorted({clip["subject"] for clip in facts["clips"]})
    assert imported.counts["scored"] == sum(clip["scored"] for clip in facts["clips"])
    result = score_benchmark(context, imported.digest, "shipped")
    again = score_benchmark(context, imported.folder, str(SHIPPED_RUN / "model.safetensors"))
    assert (again.cached, again.digest) == (True, result.digest)
    assert (result.statistics["model"], again.statistics["model"]) == ("shipped", f"{SHIPPED_RUN}/model.safetensors")
    scores = result.statistics["benchmark_scores"]
    assert list(scores) == [*dict.fromkeys(clip["group"] for clip in facts["clips"]), "mean"]
    mean = scores["mean"]
    assert mean["frames"] == imported.counts["scored"]
    assert 15 < mean["p_mpjpe_mm"] < mean["n_mpjpe_mm"] <= mean["mpjpe_mm"] < 110
    assert 20 < mean["distance_mpjpe_mm"] < 70
    assert 0.8 < mean["pck_150"] <= 1
    assert 0.3 < mean["auc_150"] < 0.9


def test_the_commands_import_and_score_and_print_the_protocol(walking, tmp_path, capsys, monkeypatch):
    files, store = write_3dpw(tmp_path / "files", walking), str(tmp_path / "store")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["uplift", "benchmark", *words, "--store", store, "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        output = capsys.readouterr()
        assert end.value.code == 0, output.err
        return json.loads(output.out.splitlines()[-1]), output.err

    imported, printed = run("import", "3dpw", str(files))
    assert (imported["clips"], imported["scored"]) == (1, 186)
    incomplete = "incomplete: 0 of 24 sequences\nnot in the protocol: walk_00"
    for words in ("3DPW, test split", incomplete, "its neck as thorax", "186 frames scored, 0 of them", "license.html"):
        assert words in printed
    scored, printed = run("score", imported["digest"][:6], "--model", "shipped", "--set", "lift.height=1.8")
    assert {"walk_00", "mean"} == scored["benchmark_scores"].keys()
    for words in (incomplete, "without rotation; the body is 1.80 m tall", "model: shipped", "true distance"):
        assert words in printed


def test_parameters_of_causal_lifting_have_no_effect_on_scores(walking, tmp_path, parameters):
    context = Context(tmp_path / "store", parameters, tracked=False)
    digest = import_files(context, find_benchmark(Benchmark.THREE_DPW, write_3dpw(tmp_path, walking[:40]))).digest

    def score(**lift):
        changed = parameters.model_copy(update={"lift": LiftParameters(**lift)})
        return score_benchmark(replace(context, parameters=changed), digest, "shipped").digest

    assert score(causal=True) == score()
    assert score(causal=True, stride=2) == score(stride=2) != score()


def imported(benchmark, names):
    clips = [
        {"subject": subject, "group": group, "scored": 9, "undetected": 0, "fps": 25.0} for subject, group in names
    ]
    return {"benchmark": benchmark, "source": ["a"], "clips": clips}


@pytest.mark.parametrize(
    ("benchmark", "names", "expected"),
    [
        (Benchmark.MPI_INF_3DHP, [(f"TS{number}", f"TS{number}") for number in range(1, 7)], []),
        (Benchmark.MPI_INF_3DHP, [("TS1", "TS1"), ("TS2", "TS2")], ["incomplete: 2 of 6 sequences"]),
        (Benchmark.THREE_DPW, [("flat_guitar_01 0", "flat_guitar_01")], ["incomplete: 1 of 24 sequences"]),
        (Benchmark.H36M, [("S9", "Eating"), ("S11", "Eating"), ("S9", "WalkDog")], ["incomplete: 3 of 30 actions"]),
        (
            Benchmark.MPI_INF_3DHP,
            [(name, name) for name in ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6", "S1")],
            ["not in the protocol: S1"],
        ),
    ],
)
def test_missing_and_other_sequences_are_named_with_the_protocol(benchmark, names, expected):
    lines = protocol_lines(imported(benchmark, names))
    assert [line for line in lines if not line.startswith(("protocol: ", "joints: ", "input: "))] == expected


class Reads:
    """Parameters that record the fields that are read."""

    def __init__(self, parameters):
        self.parameters, self.fields = parameters, set()

    def __getattr__(self, name):
        self.fields.add(name)
        return getattr(self.parameters, name)


def test_a_key_covers_exactly_the_parameters_that_the_stage_reads(walking, tmp_path):
    keypoints, lift = Reads(KeypointsParameters()), Reads(LiftParameters())
    for benchmark, write in WRITERS.items():
        (clip, *_) = READERS[benchmark](find_benchmark(benchmark, write(tmp_path / benchmark, walking[:40])), keypoints)
    assert keypoints.fields == stage_key("benchmark", {}, keypoints.parameters).settings.keys()
    score_clip(flat_lifter(), clip, [0, 1], lift)
    with_result = lift.fields & lift.parameters.identity().keys()
    assert with_result | {"flip"} == stage_key("score", {}, lift.parameters).settings.keys()  # the lifter has flip
