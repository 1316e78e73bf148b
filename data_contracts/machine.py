"""What this process may use of the machine it runs on: cores and memory, whatever its affinity and cgroups leave it.

In a container the machine's own figures (`os.cpu_count`, MemAvailable) are those of the whole host: who starts a thread
a core, or fills half of the free memory, starts too many, or is killed. Limits are looked up in cgroups v2 and v1, from
the group of this process up to the root: each of them holds.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

SYSTEMS = ("linux", "darwin")
CGROUPS, MEMBERSHIP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/meminfo")


def refuse_other_systems(platform: str = sys.platform) -> None:
    """End this process with one sentence where the signals, pipes and folder syncs that a run needs do not exist."""
    if platform not in SYSTEMS:
        raise SystemExit(f"pose-uplift runs on Linux and macOS, not on {platform}; on Windows, use WSL")


def usable_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Cores that this process may keep busy: those of its affinity, at most as many as its cgroups' quotas pay for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for version, group in _groups("cpu", cgroups, membership):
        if version == 2:
            quota, _, period = _text(group / "cpu.max").partition(" ")
        else:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # else "max", "-1", or no such file: no limit
            cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def free_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, meminfo: Path = MEMINFO) -> int:
    """Bytes that this process may still take, page cache counted as free; off Linux, the machine's memory."""
    if not meminfo.is_file():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = 1024 * int(_fields(meminfo)["MemAvailable:"])
    for version, group in _groups("memory", cgroups, membership):
        most, used, cache = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        limit, usage = _text(group / most), _text(group / used)
        if limit.isdigit() and usage.isdigit():
            reclaimable = int(_fields(group / "memory.stat").get(cache, 0))
            free = min(free, int(limit) - int(usage) + reclaimable)
    return max(0, free)


def local_processes() -> int:
    """Processes of one `torch.distributed.run` that share this machine, this one included; 1 where it started none."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def _groups(controller: str, cgroups: Path, membership: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of each cgroup that this process is in for a controller, its own first.

    A container sees its own group as the root, but may be told its path on the host: folders that are not there are
    left out by whoever reads in them.
    """
    for line in _text(membership).splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            version, root = 2, cgroups
        elif controller in controllers.split(","):
            version, root = 1, cgroups / controller
        else:
            continue
        group = root / path.lstrip("/")
        yield from ((version, folder) for folder in (group, *group.parents) if folder.is_relative_to(root))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _fields(path: Path) -> dict[str, str]:
    """First word of each line -> the second."""
    return dict(line.split()[:2] for line in _text(path).splitlines())
