"""What computes: Fabric for this machine or among processes of `torch.distributed.run`, and `torch.compile`."""

import logging
import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from data_contracts.errors import InputError
from data_contracts.machine import local_processes, usable_cores
from data_contracts.parameters import Runtime
from model.network.dstformer import DSTformer

_LOG = logging.getLogger(__name__)


def make_fabric(runtime: Runtime, precision: str) -> Fabric:
    """Fabric for this machine: on CUDA where there is one, else on the CPU; computes in `precision` and no other.

    In a process that `torch.distributed.run` started it joins the others; elsewhere it takes one device. Apple's MPS is
    never taken: it has no float64, in which scores are summed.

    The threads of a small network meet hundreds of times a step: with every core taken, each waits for whatever else
    runs. Measured on 2 cores beside one busy process: 25 windows/s with 2 threads, 110 with 1.

    Raises
    ------
    InputError
        CUDA is asked for, by `accelerator` or by a precision that only CUDA computes, and this process has none.
    """
    local = local_processes()
    torch.set_num_threads(runtime.threads or max(1, usable_cores() // (2 * local)))
    cuda = runtime.accelerator != "cpu" and torch.cuda.is_available()
    if runtime.accelerator == "cuda" and not cuda:
        raise InputError("runtime.accelerator is cuda, and PyTorch finds no CUDA device here; pass auto or cpu")
    if precision == "16-mixed" and not cuda:
        raise InputError("precision 16-mixed (fp16) is computed on CUDA only; pass bf16-mixed here, or run it on CUDA")
    accelerator = "cuda" if cuda else "cpu"
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    nodes = int(os.environ["WORLD_SIZE"]) // local
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=nodes,
        # buffers are constants; to send them before each forward would wait, in validation, for who has no batch left
        strategy=DDPStrategy(broadcast_buffers=False),
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def compiled(network: DSTformer, example: Tensor, runtime: Runtime, fabric: Fabric) -> nn.Module:
    """The network compiled, where that is wanted and succeeds for an `example` (B, T, 17, 3)."""
    if runtime.compile == "off" or (runtime.compile == "auto" and fabric.device.type != "cuda"):
        return network
    try:
        faster: nn.Module = torch.compile(network.to(fabric.device))  # type: ignore[assignment]
        with fabric.autocast():
            faster(example).sum().backward()
        network.zero_grad(set_to_none=True)
        return faster
    except Exception as error:  # whatever the compiler stumbles over, the network itself can be trained
        _LOG.warning("torch.compile failed, training goes on without it: %s", str(error).strip().partition("\n")[0])
        return network
