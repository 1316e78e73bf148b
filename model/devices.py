"""Fabric for this machine, and for the processes that `torch.distributed.run` starts."""

import ctypes
import os

import torch
from lightning_fabric import Fabric

from data_contracts.parameters import Runtime

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def make_fabric(runtime: Runtime, precision: str) -> Fabric:
    """Fabric for this machine; fp16 autocast exists on CUDA only, so a CPU computes `16-mixed` in bfloat16.

    In a process that `torch.distributed.run` started it joins the others; elsewhere it takes one device.

    The threads of a small network meet hundreds of times a step: with every core taken, each waits for whatever else
    runs. Measured on 2 cores beside one busy process: 25 windows/s with 2 threads, 110 with 1.
    """
    keep_freed_memory()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    torch.set_num_threads(runtime.threads or max(1, (os.cpu_count() or 1) // (2 * local)))
    cuda = runtime.accelerator != "cpu" and torch.cuda.is_available()
    if precision == "16-mixed" and not cuda and runtime.accelerator != "cuda":
        precision = "bf16-mixed"
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Fabric(accelerator=runtime.accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    nodes = int(os.environ["WORLD_SIZE"]) // local
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=local,
        num_nodes=nodes,
        strategy="ddp",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next tensor of that size, instead of giving it back to the system.

    A tensor of megabytes is mapped anew otherwise, and the system fills it with zeros page by page when it is first
    written: measured here, that takes five times as long as to gather a batch of windows into it. Other C libraries
    have no such settings, and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
