"""A real stack, `uplift up`, with its own store and ports; requests to its servers; and a webhook on loopback."""

import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.deployment import services
from flows.deployment.settings import ROOT, StackSettings
from tests.ports import free_ports
from tests.servers import guarded

COMMAND = [sys.executable, "-m", "flows.cli"]


def environment(folder: Path, **values: object) -> dict[str, str]:
    """Return the variables of a shell whose store, ports and Prefect profile are in `folder`."""
    inherited = ("UPLIFT_", "MLFLOW_TRACKING", "PREFECT_API")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
    variables |= {f"UPLIFT_{name.upper()}": str(value) for name, value in values.items()}
    variables |= {"UPLIFT_STORE": str(folder / "store"), "PREFECT_HOME": str(folder / "home")}
    return variables | {"PREFECT_WORKER_QUERY_SECONDS": "2"}  # default: 10


@contextmanager
def stack(folder: Path, **values: object) -> Iterator[tuple[StackSettings, subprocess.Popen]]:
    """Yield the settings and the process of a stack; in the block this process is a client of its Prefect server."""
    prefect, mlflow = free_ports(2)
    values |= {"prefect_port": prefect, "mlflow_port": mlflow}
    settings = StackSettings(store=str(folder / "store"), **values)
    with (folder / "terminal").open("w") as terminal:
        process = subprocess.Popen(
            [*COMMAND, "up"],
            cwd=ROOT,
            env=environment(folder, **values),
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
    with guarded(process.pid):
        try:
            wait_for(lambda: "Ctrl-C in" in terminal_of(folder) or process.poll() is not None, 300)
            assert process.poll() is None, terminal_of(folder)
            services.wait_for(f"{settings.mlflow_url}/health")
            client = {
                PREFECT_API_URL: f"{settings.prefect_url}/api",
                PREFECT_API_AUTH_STRING: f"uplift:{settings.password()}",
            }
            EventsWorker.drain_all(timeout=30)  # Prefect sends all events of a process to the server of the first one
            with temporary_settings(client):
                yield settings, process
                EventsWorker.drain_all(timeout=30)  # while a server accepts them
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(150)


def terminal_of(folder: Path) -> str:
    """Return the output of `uplift up`."""
    return (folder / "terminal").read_text()


def services_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Return `uplift up` and its descendants."""
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]


def uplift(settings: StackSettings, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a second terminal that has the stack's variables of `.env`, but no password."""
    ports = {"prefect_port": settings.prefect_port, "mlflow_port": settings.mlflow_port}
    shell = environment(settings.store.parent, **ports) | variables
    return subprocess.run([*COMMAND, *words], cwd=ROOT, env=shell, capture_output=True, text=True)


def request(
    url: str, password: str | None = None, method: str = "GET", body: object = None, **headers: str
) -> tuple[int, str]:
    """Return status and text of the answer to one HTTP request; headers may replace Host."""
    if password:
        headers["Authorization"] = f"Basic {b64encode(f'uplift:{password}'.encode()).decode()}"
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    try:
        data = None if body is None else json.dumps(body)
        headers |= {"Content-Type": "application/json"} if data else {}
        connection.request(method, address.path or "/", data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def wait_for(is_true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until the condition is true."""
    pause = threading.Event()
    for _ in range(int(seconds * 4)):
        if is_true():
            return
        pause.wait(0.25)
    raise AssertionError(f"not within {seconds:g} s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """URL of a webhook, and the messages that it received."""
    received: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", received
    server.shutdown()
