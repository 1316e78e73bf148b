"""Free TCP ports for servers that tests start."""

import socket


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that no process uses."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
