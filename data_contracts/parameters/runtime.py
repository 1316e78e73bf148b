"""Where work is done; changes no result and stands in no digest."""

from typing import Literal

from pydantic import Field

from data_contracts.parameters.base import Parameters


class Runtime(Parameters):
    """Where training runs; changes no result and stands in no digest."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one, else CPU.")
    devices: int = Field(1, ge=1, description="Processes of this machine that share every step, one a device.")
    nodes: int = Field(1, ge=1, description="Machines that do, each started by hand but this one (README).")
    rendezvous: str | None = Field(None, description="host:port of this machine, where the other nodes find it.")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: on CUDA.")
    features: Literal["auto", "off"] = Field(
        "auto", description="What a frozen backbone makes of the windows is kept: in memory, else on disk."
    )
    checkpoint_minutes: float = Field(10.0, gt=0, description="Between two `last` checkpoints within an epoch.")
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads; none: half the usable cores, which leaves the other half to serve and track.",
    )
    memory_gb: float | None = Field(
        None, gt=0, description="Windows larger than this are streamed; none: half of the memory that is free to it."
    )
    wait_minutes: float = Field(
        30.0, gt=0, le=10_080, description="Of a stage that was sent to a work pool, while the pool has no worker."
    )
    stage_hours: float = Field(
        48.0, gt=0, le=720, description="Of such a stage in all, its time in the pool's queue included."
    )


class Workers(Parameters):
    """Where batches of clips are converted; changes no result and stands in no digest."""

    processes: int | None = Field(
        None, ge=1, description="Processes on this machine; none: one a usable core, where there is enough to convert."
    )
    dask: str | None = Field(None, description="Address of a Dask scheduler (tcp://host:8786) to use instead.")
