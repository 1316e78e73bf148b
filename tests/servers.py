"""Processes of tests. Each one ends with the process that started it, even if that process receives SIGKILL."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")


@contextmanager
def guarded(leader: int) -> Iterator[None]:
    """End the process group of `leader` if this process dies inside the block."""
    command = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(leader)]
    guard = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        guard.kill()
        guard.wait()


@contextmanager
def serving(command: Sequence[str], port: int, path: str, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the address of a server once it answers at `path`; end the server and its children with the block.

    Parameters
    ----------
    command
        Command line that makes the server listen on `port` of 127.0.0.1.
    log
        File for the output of the server.
    """
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as out, ExitStack() as stack:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        stack.callback(server.wait)
        stack.callback(_kill_group, server.pid)
        stack.enter_context(guarded(server.pid))
        deadline = time.monotonic() + 180
        while not _answers(address + path):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield address


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
