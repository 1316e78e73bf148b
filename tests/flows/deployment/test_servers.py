"""Foreign web pages, a second `uplift up`, and kill -9, on one stack."""

import shutil
import signal
import subprocess

import psutil
import pytest

from flows.deployment.settings import ROOT
from flows.deployment.up import UP
from tests.flows.deployment.conftest import COMMAND, environment, request, services_of, stack, uplift, wait_for
from tests.ports import free_ports

FOREIGN = {"name": "from a foreign page"}


@pytest.fixture(scope="module")
def running(folder, mlflow_database, prefect_database):
    (folder / "store").mkdir()
    for database in (mlflow_database, prefect_database):
        shutil.copy(database, folder / "store")  # the stack of test_up.py starts from nothing
    with stack(folder, workers="cuda", allowed_hosts="gpu-box") as (settings, process):
        yield settings, process


@pytest.fixture
def settings(running):
    return running[0]


def test_a_foreign_host_name_is_refused_with_and_without_password(settings):
    for url in (f"{settings.prefect_url}/api/admin/version", f"{settings.mlflow_url}/"):
        for host in ("evil.example", "evil.example:4200", "127.0.0.1.evil.example", "10.evil.example"):
            for password in (None, settings.password()):
                assert request(url, password, Host=host)[0] in (400, 403), (url, host)
        for host in ("localhost", f"localhost:{settings.prefect_port}", "gpu-box", f"gpu-box:{settings.mlflow_port}"):
            assert request(url, settings.password(), Host=host)[0] == 200, (url, host)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_a_request_of_a_foreign_page_is_refused_even_with_the_password(settings, origin):
    flows, experiments = f"{settings.prefect_url}/api/flows/", f"{settings.mlflow_url}/api/2.0/mlflow/experiments"
    for password in (None, settings.password()):
        assert request(flows, password, "POST", FOREIGN, Origin=origin)[0] == 403
    assert request(f"{experiments}/create", None, "POST", FOREIGN, Origin=origin)[0] in (401, 403)
    assert request(f"{experiments}/create", settings.password(), "POST", FOREIGN, Origin=origin)[0] == 403
    assert request(f"{flows}name/from%20a%20foreign%20page", settings.password())[0] == 404


def test_the_own_page_of_each_server_may_send_requests(settings):
    password = settings.password()
    for host in ("127.0.0.1", "localhost"):
        own = f"http://{host}:{settings.prefect_port}"
        assert request(f"{own}/api/flows/filter", password, "POST", {}, Origin=own)[0] == 200
        own = f"http://{host}:{settings.mlflow_port}"
        url = f"{own}/ajax-api/2.0/mlflow/experiments/search"
        assert request(url, password, "POST", {"max_results": 5}, Origin=own)[0] == 200


def test_a_websocket_of_a_foreign_page_is_refused(settings):
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    handshake |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "prefect"}
    for origin, status in ((settings.prefect_url, 101), ("https://evil.example", 403)):
        assert request(f"{settings.prefect_url}/api/events/in", Origin=origin, **handshake)[0] == status


def test_a_used_port_is_named_by_its_variable(settings, tmp_path):
    variables = environment(tmp_path, prefect_port=settings.prefect_port)
    refused = subprocess.run([*COMMAND, "up"], env=variables, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    message = " ".join(refused.stderr.split())
    assert (
        f"Address already in use (while attempting to bind on address ('127.0.0.1', {settings.prefect_port}" in message
    )
    assert "set UPLIFT_PREFECT_PORT to another port" in message


def test_a_stack_whose_command_was_killed_is_named_with_the_command_that_ends_it(tmp_path):
    prefect, mlflow = free_ports(2)
    variables = environment(tmp_path, prefect_port=prefect, mlflow_port=mlflow)
    with subprocess.Popen(["true"]) as killed:
        killed.wait()
    with subprocess.Popen(["sleep", "600"], env=variables | {UP: str(killed.pid)}) as left:
        refused = subprocess.run([*COMMAND, "up"], env=variables, cwd=ROOT, capture_output=True, text=True)
        left.kill()
    assert refused.returncode == 2
    assert f"a stack runs on this store already, processes {left.pid}; end it with: kill {left.pid}" in refused.stderr


@pytest.mark.runs_last
def test_kill_9_of_uplift_up_ends_all_services(running):
    settings, process = running
    services = services_of(process)
    assert len(services) >= 9
    refused = uplift(settings, "up")
    assert refused.returncode == 2
    assert f"end it with: kill {process.pid}" in refused.stderr
    (server,) = [one.pid for one in services if "flows.deployment.prefect_app:create_app" in one.cmdline()]
    assert f" {server} " in refused.stderr
    process.send_signal(signal.SIGKILL)  # it stays a zombie until this test waits for it
    _, alive = psutil.wait_procs([one for one in services if one.pid != process.pid], timeout=90)
    assert alive == []
    # At an address of no machine the start ends in any case: here not because of the lock or of a process.
    wait_for(lambda: "Cannot assign requested address" in uplift(settings, "up", UPLIFT_HOST="192.0.2.1").stderr)
