"""A store on a read-only file system: commands that only read work, and commands that must write print one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from prefect.settings import PREFECT_API_URL

from data_contracts.parameters import NetworkConfig, SyntheticParameters
from data_contracts.store.digests import StageKey
from flows.lift import lift
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import connect, track_pipeline
from tests.tasks.lifting.formats.writing import alphapose, body, seen_by, triples

WINDOW = 9
MODEL = "models:/pose-uplift@challenger"
# File modes bind root only without CAP_DAC_OVERRIDE (1); PR_CAPBSET_DROP (24) takes effect at the next exec.
AS_USER = """
import ctypes, os, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
RUN_COMMANDS = """
import contextlib, io, json, sys, traceback
from flows.cli import main
for command in json.load(sys.stdin):
    sys.argv, out, err = ["uplift", *command], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main() or 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = traceback.format_exc()
    print(json.dumps([code, err.getvalue().strip().splitlines()[-1:]]))
"""


@pytest.fixture
def detected(tmp_path):
    path = tmp_path / "walk.json"
    path.write_text(json.dumps(alphapose([triples(seen_by("coco17", body(30, (300.0, 400.0))))], people=[1])))
    return path


@pytest.fixture
def read_only(detected, empty_store, tmp_path):
    """A store with a registered version and one lifted file, without write permission on any folder or file."""
    torch.manual_seed(0)
    network = PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=WINDOW)).eval()
    torch.nn.init.normal_(network.head.joints.weight, std=0.3)
    save_network(tmp_path / "model.safetensors", network, {"window": WINDOW, "fps": 60.0})
    with track_pipeline(empty_store, StageKey("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
        version = register_challenger(tracked, tmp_path / "model.safetensors", "a digest", {}, flip=False)
    connect(empty_store).set_registered_model_alias(version.name, "previous", version.version)
    lift(str(detected), MODEL, out=str(tmp_path / "first"), store=str(empty_store))
    paths = [empty_store, *empty_store.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield empty_store
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


def run_commands(*commands):
    """Exit code (or a traceback) and last line of each command, run by a process to which file modes apply."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}  # set by MLflow
    done = subprocess.run(
        [sys.executable, "-c", AS_USER, RUN_COMMANDS],
        input=json.dumps([list(map(str, command)) for command in commands]),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(results) == len(commands), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return results


def state_of(store):
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(store.rglob("*"))}


def test_commands_that_only_read_work_and_commands_that_must_write_print_one_line(read_only, detected, tmp_path):
    before, digest = state_of(read_only), next(read_only.glob("motions/[!.]*")).name
    reading = [
        ("lift", detected, "--model", MODEL, "--out", tmp_path / "again"),
        ("gc", "--keep-last", "1"),
        ("status",),
        ("lineage", MODEL),
        ("check", digest),
    ]
    writing = [
        ("lift", detected, "--model", MODEL, "--out", tmp_path / "again", "--height", "1.5"),
        ("pipeline",),
        ("gc", "--keep-last", "1", "--yes"),
        ("rollback", "--reason", "test"),
        ("benchmark", "unset"),
        ("export", MODEL, "--onnx", "--out", tmp_path / "model.onnx"),
    ]
    results = run_commands(*[(*command, "--store", read_only) for command in (*reading, *writing)])
    assert [code for code, _ in results] == [0] * len(reading) + [2] * len(writing), results
    assert (tmp_path / "again" / "person-0" / "motion.npz").is_file()
    for command, (_, last) in zip(writing, results[len(reading) :], strict=True):
        assert last[0].startswith("uplift: "), command
        assert "cannot be written" in last[0] or "Permission denied" in last[0], command
    assert state_of(read_only) == before
