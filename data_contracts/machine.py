"""Facts about this machine: operating system, usable cores, free memory, training processes and installed programs."""

import os
import shlex
import sys
from pathlib import Path

SYSTEMS = ("linux", "darwin")


def refuse_other_systems(platform: str = sys.platform) -> None:
    """Raise SystemExit with a message if `platform` is not in `SYSTEMS`; others lack the required signals and pipes."""
    if platform not in SYSTEMS:
        raise SystemExit(f"pose-uplift runs on Linux and macOS, not on {platform}; on Windows, use WSL")


def program(name: str) -> str:
    """Return the quoted path of a program of this Python environment, relative if below the working directory."""
    path = Path(sys.executable).with_name(name)
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def usable_cores() -> int:
    """Return the number of cores in the CPU affinity of this process; container quotas are not considered."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes that are available without swapping; container limits are not considered."""
    import psutil  # its import fails on systems that `refuse_other_systems` refuses

    return int(psutil.virtual_memory().available)


def local_processes() -> int:
    """Return the number of processes that `torch.distributed.run` started here; 1 if it did not start this process."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
