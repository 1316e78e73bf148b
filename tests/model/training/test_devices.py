import pytest
import torch
from lightning_fabric.accelerators import MPSAccelerator

from data_contracts.errors import InputError
from data_contracts.parameters import Runtime
from model.data import loading
from model.training import devices
from model.training.devices import make_fabric

AUTO = Runtime(threads=1)


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_mac_s_mps_is_never_picked(monkeypatch, without_cuda):
    """It has no float64: scores are summed in it."""
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(MPSAccelerator, "auto_device_count", staticmethod(lambda: 1))
    assert make_fabric(AUTO, "32-true").device.type == "cpu"


def test_cuda_is_not_replaced_in_silence(without_cuda):
    with pytest.raises(InputError, match=r"runtime\.accelerator is cuda, .* no CUDA device"):
        make_fabric(Runtime(accelerator="cuda", threads=1), "32-true")


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_fp16_is_refused_where_it_would_be_computed_as_something_else(without_cuda, accelerator):
    runtime = Runtime(accelerator=accelerator, threads=1)
    with pytest.raises(InputError, match=r"16-mixed .* on CUDA only.* pass precision bf16-mixed"):
        make_fabric(runtime, "16-mixed")
    with make_fabric(runtime, "bf16-mixed").autocast():
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16


@pytest.fixture
def one_of_four(monkeypatch):
    """As in one of four processes of `torch.distributed.run` on this machine."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")


def test_processes_of_a_run_share_what_memory_is_free(monkeypatch, one_of_four):
    monkeypatch.setattr(loading, "free_memory", lambda: 4000)
    assert loading.free_bytes(torch.device("cpu")) == 1000


def test_threads_are_half_the_usable_cores_not_half_the_machine(monkeypatch):
    before = torch.get_num_threads()
    for usable, threads in ((6, 3), (1, 1)):
        monkeypatch.setattr(devices, "usable_cores", lambda usable=usable: usable)
        make_fabric(Runtime(accelerator="cpu"), "32-true")
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
