"""Parameters of where work runs; they change no result and are not part of digests."""

from typing import Literal

from pydantic import Field

from data_contracts.parameters.base import Parameters


class Runtime(Parameters):
    """Parameters of where training runs; they change no result and are not part of digests."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device type; auto is CUDA if available.")
    devices: int = Field(1, ge=1, description="Training processes on this machine, one per device.")
    nodes: int = Field(1, ge=1, description="Machines that train together; the log has the command for the others.")
    rendezvous: str | None = Field(None, description="host:port of this machine for the other nodes.")
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="Use of torch.compile; auto uses it on CUDA only."
    )
    features: Literal["auto", "off"] = Field("auto", description="Caching of the features of a frozen backbone.")
    checkpoint_minutes: float = Field(10.0, gt=0, description="Minutes between two `last` checkpoints within an epoch.")
    threads: int | None = Field(None, ge=1, description="CPU threads. Default: half of the usable cores.")
    memory_gb: float | None = Field(
        None, gt=0, description="Memory for windows; larger splits are streamed. Default: half of the free memory."
    )
    wait_minutes: float = Field(
        30.0, gt=0, le=10_080, description="Minutes that a dispatched stage may wait for a worker in its work pool."
    )
    stage_hours: float = Field(
        48.0, gt=0, le=720, description="Hours that a dispatched stage may take, including the time in the queue."
    )
    restarts: int = Field(
        2, ge=0, le=100, description="Number of times that a dispatched stage is started again after its process died."
    )


class Workers(Parameters):
    """Parameters of where clips are converted; they change no result and are not part of digests."""

    processes: int | None = Field(
        None, ge=1, description="Processes on this machine. Default: one per core for large inputs."
    )
    dask: str | None = Field(None, description="Address of a Dask scheduler (tcp://host:8786) instead of processes.")
