"""Two processes on this machine, over gloo."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.parameters import (
    CorruptionParameters,
    DetectorNoise,
    FinetuneParameters,
    HeadKind,
    LossWeights,
    Objective,
    Runtime,
    TrainingParameters,
)
from model.data.loading import load_windows
from model.network.network import PoseNetwork
from model.training.checkpoints import read_about
from model.training.job import MARK, Job, distributed_command, report, run, run_on_devices
from model.training.loop import build_network
from tasks.train.training import with_head
from tests.model.training.small_runs import CONFIG, EVERYTHING

ROOT = Path(__file__).parents[3]
PARAMETERS = TrainingParameters(
    batch_size=34,
    max_epochs=2,
    learning_rate=3e-3,
    flip=True,
    loss=LossWeights(mpjpe=1, n_mpjpe=0.5, velocity=2),
    corruption=CorruptionParameters(joint_share=0.1, fill="token", noise=DetectorNoise(std=(0.01,))),
)


def network():
    return build_network(lambda: PoseNetwork(CONFIG.model_copy(update={"mask_token": True})), 0)


def job(windows, folder, devices, parameters=PARAMETERS, **runtime):
    folder.mkdir(exist_ok=True)
    runtime = Runtime(accelerator="cpu", devices=devices, threads=1, **runtime)
    return Job(folder=folder, windows=windows, parameters=parameters, objective=Objective.LIFT, runtime=runtime)


def nothing(*_):
    pass


def test_two_processes_give_the_curve_of_one(windows_folder, tmp_path):
    """On augmented windows that are read from disk, with stem, geometry and Muon.

    The last training step has one window and validation one batch: one process has none.
    """
    assert [len(load_windows(windows_folder, split)) for split in ("train", "val")] == [295, 103]
    parameters = PARAMETERS.model_copy(update={"optimiser": "muon", "batch_size": 147, "augmentation": EVERYTHING})
    one, other = (
        job(windows_folder, tmp_path / name, devices, parameters, memory_gb=1e-9)
        for name, devices in (("one", 1), ("two", 2))
    )
    parts = {"patch": 3, "stem": "window", "stem_width": 64, "cosines": 4, "geometry": "foreshortening"}
    config = CONFIG.model_copy(update={**parts, "mask_token": True})
    networks = [build_network(lambda: PoseNetwork(config, HeadKind.POSE), 0) for _ in range(2)]
    alone = run(one, networks[0], nothing, nothing, nothing)
    epochs, lines = [], []
    two = run_on_devices(other, networks[1], epochs.append, nothing, lines.append)
    assert all(record.pop("windows_per_second") > 0 for record in epochs)
    assert epochs == two.history
    assert any("windows of 9 frames on 2 x cpu" in line for line in lines)
    for record, other in zip(two.history, alone.history, strict=True):
        share = record["val_pck_150"]
        assert share == pytest.approx(other["val_pck_150"], abs=1e-3)  # joints at the very 150 mm
        assert record == pytest.approx(other | {"val_pck_150": share}, rel=1e-4)


def test_fine_tuning_keeps_a_token_where_it_masks_with_one_and_nowhere_else():
    """Several devices wait for the gradient of every weight: the network may keep none that no step uses."""
    pretrained = network()
    with torch.no_grad():
        pretrained.backbone.mask_token += 1
    masks = FinetuneParameters(corruption=CorruptionParameters(joint_share=0.1, fill="token"))
    assert torch.equal(with_head(pretrained, masks).backbone.mask_token, pretrained.backbone.mask_token)
    for corruption in ({}, {"fill": "token"}, {"joint_share": 0.1, "fill": "zero"}):
        other = FinetuneParameters(corruption=CorruptionParameters(**corruption))
        assert with_head(pretrained, other).backbone.mask_token is None


def test_what_a_process_refuses_is_refused_here(windows_folder, tmp_path):
    refused = job(windows_folder / "train", tmp_path / "run", 1)
    with pytest.raises(InputError, match="no windows in split 'train'"):
        run_on_devices(refused, network(), nothing, nothing, nothing)


def test_a_report_stands_on_a_line_of_its_own(capfd):
    os.write(1, b"what another process has begun")
    report(step=1, steps=2)
    os.write(1, b"and ends\n")
    lines = capfd.readouterr().out.splitlines()
    assert MARK + '{"step": 1, "steps": 2}' in lines


def test_a_failing_process_is_an_error_with_what_it_wrote(windows_folder, tmp_path):
    broken = job(windows_folder, tmp_path / "run", 1)
    other = build_network(lambda: PoseNetwork(CONFIG.model_copy(update={"max_frames": 3})), 0)
    with pytest.raises(RuntimeError, match=r"(?s)ended with exit code 1;.*9 frames; this network takes at most 3"):
        run_on_devices(broken, other, nothing, nothing, nothing)


START = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests/model/training"]
from pathlib import Path
from test_job import job, network, nothing, PARAMETERS
from model.training.job import run_on_devices
endless = PARAMETERS.model_copy(update={{"max_epochs": 1000, "patience": 1000}})
run_on_devices(job(Path({windows!r}), Path({folder!r}), 2, endless), network(), print, nothing, print)
"""


def test_the_processes_end_with_the_one_that_started_them(windows_folder, tmp_path):
    script = tmp_path / "start.py"
    script.write_text(START.format(root=str(ROOT), windows=str(windows_folder), folder=str(tmp_path / "run")))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        next(line for line in parent.stdout if "'epoch': 2" in line)
        processes = psutil.Process(parent.pid).children(recursive=True)
        workers = [process for process in processes if "model.training.job" in " ".join(process.cmdline())]
        assert len(workers) >= 3  # the one that watches, and two
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(timeout=30)
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    assert read_about(tmp_path / "run" / "last.safetensors")["epoch"] >= 2


def test_several_nodes_need_a_place_to_meet(windows_folder, tmp_path):
    for rendezvous in (None, "somewhere"):
        with pytest.raises(InputError, match=r"runtime\.rendezvous"):
            distributed_command(job(windows_folder, tmp_path / "run", 2, nodes=2, rendezvous=rendezvous), 0)


def test_two_machines_give_the_curve_of_one(windows_folder, tmp_path, monkeypatch):
    """Both are this one; the second is started with the command that the first one's log shows."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # both machines share the cores
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    alone = run(job(windows_folder, tmp_path / "one", 1), network(), nothing, nothing, nothing)
    others = []

    def on_line(line):
        if line.startswith("on another machine, start: python "):
            command = [sys.executable, *line.split()[5:]]
            log = (tmp_path / "other.log").open("w")
            others.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT))

    both = job(windows_folder, tmp_path / "two", 1, nodes=2, rendezvous=meet)
    two = run_on_devices(both, network(), nothing, nothing, on_line)
    assert [other.wait(timeout=120) for other in others] == [0], (tmp_path / "other.log").read_text()
    for record, other in zip(two.history, alone.history, strict=True):
        assert record == pytest.approx(other, rel=1e-4)


def test_training_takes_the_threads_it_is_given(windows_folder, tmp_path):
    threads = torch.get_num_threads()
    once = PARAMETERS.model_copy(update={"max_epochs": 1})
    run(job(windows_folder, tmp_path / "run", 1, once), network(), nothing, nothing, nothing)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
