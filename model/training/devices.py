"""Set up a process that trains: Fabric's devices, `torch.compile`, the batch size that fits, and SIGTERM."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from data_contracts.errors import InputError
from data_contracts.machine import local_processes, usable_cores
from data_contracts.parameters import Runtime
from model.network.network import PoseNetwork

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_LOG = logging.getLogger(__name__)


def choose_device(runtime: Runtime) -> torch.device:
    """Set the number of threads, and return the device of this process: CUDA if available, else the CPU.

    Apple's MPS is not used, because it has no float64. Only half of the cores are used: the threads of a small network
    synchronise hundreds of times per step, so one busy core delays all threads. If `accelerator` is cuda and
    there is no CUDA device, an InputError is raised.
    """
    torch.set_num_threads(runtime.threads or max(1, usable_cores() // (2 * local_processes())))
    cuda = runtime.accelerator != "cpu" and torch.cuda.is_available()
    if runtime.accelerator == "cuda" and not cuda:
        raise InputError(
            "runtime.accelerator is cuda, but PyTorch finds no CUDA device on this machine; pass auto or cpu"
        )
    return torch.device("cuda" if cuda else "cpu")


def make_fabric(runtime: Runtime, precision: str) -> "Fabric":
    """Return Fabric for the device of this process, with this `precision`.

    A process started by `torch.distributed.run` joins the other processes; any other process uses one device. If
    `accelerator` or `precision` requires CUDA and there is no CUDA device, an InputError is raised.
    """
    from lightning_fabric import Fabric  # imports TorchDynamo, which lifting a file need not wait for
    from lightning_fabric.strategies import DDPStrategy

    accelerator, local = choose_device(runtime).type, local_processes()
    if precision == "16-mixed" and accelerator != "cuda":
        raise InputError("precision 16-mixed works on CUDA only, but the device is the CPU; pass precision bf16-mixed")
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=int(os.environ["WORLD_SIZE"]) // local,
        # Buffers are constants. Broadcasting them would deadlock in validation, where ranks have unequal batch counts.
        strategy=DDPStrategy(broadcast_buffers=False),
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def sum_over_devices(values: Tensor, fabric: "Fabric") -> Tensor:
    """Return the sum of the `values` of all processes, on the device of `values`."""
    if fabric.world_size == 1:
        return values
    summed = fabric.all_reduce(values.to(fabric.device), reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed.to(values.device)


def compiled(network: PoseNetwork, example: Tensor, runtime: Runtime, fabric: "Fabric") -> nn.Module:
    """Return the compiled network, or the network itself if compilation is off or fails for `example` (B, T, 17, 3)."""
    if runtime.compile == "off" or (runtime.compile == "auto" and fabric.device.type != "cuda"):
        return network
    try:
        faster: nn.Module = torch.compile(network.to(fabric.device))  # type: ignore[assignment]
        with fabric.autocast():
            faster(example).sum().backward()
        network.zero_grad(set_to_none=True)
        return faster
    except Exception as error:  # the uncompiled network can be trained after any compiler error
        _LOG.warning("torch.compile failed, training continues without it: %s", str(error).strip().partition("\n")[0])
        return network


def largest_batch(step: Callable[[int], None], start: int, limit: int) -> int:
    """Return the largest of `start`, 2 `start`, 4 `start`, ... up to `limit` for which `step(size)` fits in memory.

    `step` runs one forward and backward pass of that many windows. If `start` does not fit, it is halved until it fits.
    If one window does not fit, a `torch.OutOfMemoryError` is raised.
    """
    size = start
    while not _fits(step, size):
        if size == 1:
            step(size)
        size //= 2
    if size < start:
        return size
    while 2 * size <= limit and _fits(step, 2 * size):
        size *= 2
    return size


def _fits(step: Callable[[int], None], size: int) -> bool:
    try:
        step(size)
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
    return True


class Interruption:
    """Context manager that records SIGTERM in `asked`; `hand_on` then passes the signal to the previous handler.

    Signals reach the main thread only, so in other threads the block has no effect. Of several processes only one saves
    a checkpoint and ends; the others (`heed` is false) ignore the signal.
    """

    def __init__(self, heed: bool) -> None:
        self.asked, self._heed = False, heed
        self._handled = threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> "Interruption":
        if self._handled:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handled:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def hand_on(self) -> None:
        """Restore the previous SIGTERM handler and send SIGTERM to this process.

        If that handler returns, exit with code 143.
        """
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM)  # if the previous handler returned

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = self._heed
