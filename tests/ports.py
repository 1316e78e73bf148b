"""Free TCP ports for servers that tests start."""

import secrets
import socket
from contextlib import suppress

PORTS = range(20_000, 32_768)  # systems give outgoing connections the ports above


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that no process uses."""
    free: list[int] = []
    while len(free) < count:
        port = secrets.choice(PORTS)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            free += [port] if port not in free else []
    return free


def free_port() -> int:
    """Return one of these ports."""
    return free_ports(1)[0]
