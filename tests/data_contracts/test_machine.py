import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.machine import free_memory, local_processes, usable_cores

ROOT = Path(__file__).parent.parent.parent
GB = 10**9
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def machine(tmp_path):
    """Writes the files of a machine, path -> text, in a folder that stands for it."""

    def write(membership, **files):
        files = {"cgroup": membership, "meminfo": "MemTotal: 64000000 kB\nMemAvailable:   40000000 kB\n", **files}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return write


def cores(root):
    return usable_cores(root / "fs", root / "cgroup")


def memory(root):
    return free_memory(root / "fs", root / "cgroup", root / "meminfo")


def test_without_limits_all_cores_and_all_free_memory_count(machine):
    for membership in ("0::/", "4:memory:/\n1:cpu,cpuacct:/\n0::/", ""):
        root = machine(membership)
        assert cores(root) == CORES
        assert memory(root) == 40_000_000 * 1024


def test_an_affinity_of_one_core_leaves_one():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    core = min(os.sched_getaffinity(0))
    pinned = f"import os; os.sched_setaffinity(0, {{{core}}}); from data_contracts.machine import usable_cores as u"
    done = subprocess.run([sys.executable, "-c", f"{pinned}; print(u())"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


@pytest.mark.parametrize(
    ("membership", "group", "files"),
    [
        ("0::/pod/me", "fs/pod/me", {"cpu.max": "150000 100000"}),
        ("0::/pod/me", "fs/pod", {"cpu.max": "100000 100000"}),  # of the group above
        ("0::/host/only", "fs", {"cpu.max": "100000 100000"}),  # a container's own group is its root
        ("0::/", "fs", {"cpu.max": "20000 100000"}),  # a fifth of one core
        ("2:cpu,cpuacct:/me\n0::/", "fs/cpu/me", {"cpu.cfs_quota_us": "199999", "cpu.cfs_period_us": "100000"}),
    ],
)
def test_a_quota_of_less_than_two_cores_leaves_one(machine, membership, group, files):
    root = machine(membership, **{f"{group}/{name}": text for name, text in files.items()})
    assert cores(root) == 1


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/me", {"fs/me/cpu.max": "max 100000", "fs/me/memory.max": "max", "fs/me/memory.current": "5"}),
        ("2:cpu:/me\n3:memory:/me", {"fs/cpu/me/cpu.cfs_quota_us": "-1", "fs/cpu/me/cpu.cfs_period_us": "100000"}),
        ("2:pids:/me\n0::/", {"fs/cpu/me/cpu.max": "1000 100000"}),  # another controller's group
    ],
)
def test_a_group_without_a_limit_limits_nothing(machine, membership, files):
    root = machine(membership, **files)
    assert cores(root) == CORES
    assert memory(root) == 40_000_000 * 1024


def test_a_group_s_memory_is_its_limit_less_what_it_uses_and_cannot_give_back(machine):
    v2 = machine(
        "0::/pod/me",
        **{
            "fs/pod/memory.max": str(8 * GB),
            "fs/pod/memory.current": str(6 * GB),
            "fs/pod/memory.stat": f"anon {3 * GB}\ninactive_file {1 * GB}",
            "fs/pod/me/memory.max": str(50 * GB),
            "fs/pod/me/memory.current": str(6 * GB),
        },
    )
    assert memory(v2) == 3 * GB
    v1 = machine(
        "4:memory:/me\n0::/",
        **{
            "fs/memory/me/memory.limit_in_bytes": str(2 * GB),
            "fs/memory/me/memory.usage_in_bytes": str(3 * GB),
            "fs/memory/memory.limit_in_bytes": "9223372036854771712",  # how v1 writes "no limit"
            "fs/memory/memory.usage_in_bytes": str(3 * GB),
        },
    )
    assert memory(v1) == 0


def test_this_machine_has_a_core_and_memory():
    assert 1 <= usable_cores() <= os.cpu_count()
    assert free_memory() > 0


def test_processes_of_torch_distributed_run_are_counted_and_no_others(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # as some clusters set it for whatever they start
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert local_processes() == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert local_processes() == 4


@pytest.mark.parametrize("module", ["flows.command_line", "flows.pipeline"])
def test_another_system_is_refused_in_one_sentence(module):
    script = f"import sys; sys.platform = 'win32'; import {module}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "pose-uplift runs on Linux and macOS, not on win32; on Windows, use WSL\n"
