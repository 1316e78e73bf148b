"""Import and scores of generated benchmarks with the lifter of the package."""

import json
import sys

import pytest

from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.store.checking import check_folder
from data_contracts.store.manifests import read_manifest
from flows.cli import main
from tasks.benchmarks.importing import import_files
from tasks.benchmarks.scoring import score_benchmark
from tasks.stage import Context
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
    assert score_benchmark(context, imported.folder, "shipped").cached
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
    for words in ("3DPW, test split", "its neck as thorax", "186 frames scored, 0 of them without", "license.html"):
        assert words in printed
    scored, printed = run("score", imported["digest"][:6], "--model", "shipped", "--set", "lift.height=1.8")
    assert {"walk_00", "mean"} == scored["benchmark_scores"].keys()
    for words in ("at the pelvis, without rotation; the body is 1.80 m tall", "model: shipped", "true distance"):
        assert words in printed
