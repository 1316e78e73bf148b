"""The stack as typed, `uplift up`, with a store and ports of its own; and a webhook on loopback."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from benchmarks.stack import free_ports
from flows.stack.settings import ROOT, StackSettings
from tests.servers import guarded

PASSWORD = "correct horse"


@contextmanager
def stack(folder: Path, **told: str) -> Iterator[tuple[StackSettings, subprocess.Popen]]:
    """What it was told, and its process; this process is a client of its Prefect server while the block runs."""
    prefect, mlflow = free_ports(2)
    settings = StackSettings(store=str(folder / "store"), prefect_port=prefect, mlflow_port=mlflow, **told)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UPLIFT_", "MLFLOW_TR"))}
    environment |= {f"UPLIFT_{name.upper()}": str(value) for name, value in settings if value is not None}
    environment["PREFECT_HOME"] = str(folder / "home")
    command = [sys.executable, "-m", "flows.command_line", "up"]
    with (folder / "terminal").open("w") as terminal:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=terminal, stderr=terminal, start_new_session=True
        )
    with guarded(process.pid):
        try:
            wait_for(lambda: "Ctrl-C here" in said(folder) or process.poll() is not None, 240)
            assert process.poll() is None, said(folder)
            api = {PREFECT_API_URL: f"{settings.prefect_url}/api", PREFECT_API_AUTH_STRING: settings.prefect_password}
            with temporary_settings(api):
                yield settings, process
                EventsWorker.drain_all(timeout=30)  # while there is who takes them
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(120)


def said(folder: Path) -> str:
    """What its terminal shows."""
    return (folder / "terminal").read_text()


def wait_for(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is so."""
    waited = threading.Event()
    for _ in range(int(seconds * 4)):
        if is_so():
            return
        waited.wait(0.25)
    raise AssertionError(f"not within {seconds:g} s")


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Its URL, and what it was sent."""
    got: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
