"""What computes: Fabric for this machine or among processes of `torch.distributed.run`, and `torch.compile`."""

import logging
import os

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from data_contracts.parameters import Runtime
from model.network.dstformer import DSTformer

_LOG = logging.getLogger(__name__)


def make_fabric(runtime: Runtime, precision: str) -> Fabric:
    """Fabric for this machine; fp16 autocast exists on CUDA only, so a CPU computes `16-mixed` in bfloat16.

    In a process that `torch.distributed.run` started it joins the others; elsewhere it takes one device.

    The threads of a small network meet hundreds of times a step: with every core taken, each waits for whatever else
    runs. Measured on 2 cores beside one busy process: 25 windows/s with 2 threads, 110 with 1.
    """
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


def compiled(network: DSTformer, example: Tensor, runtime: Runtime, fabric: Fabric) -> nn.Module:
    """The network compiled, where that is wanted and succeeds for an `example` (B, T, 17, 3)."""
    if runtime.compile == "off" or (runtime.compile == "auto" and fabric.device.type != "cuda"):
        return network
    try:
        faster: nn.Module = torch.compile(network.to(fabric.device))  # type: ignore[assignment]
        with fabric.autocast():
            faster(example, None, None).sum().backward()
        network.zero_grad(set_to_none=True)
        return faster
    except Exception as error:  # whatever the compiler stumbles over, the network itself can be trained
        _LOG.warning("torch.compile failed, training goes on without it: %s", str(error).strip().partition("\n")[0])
        return network
