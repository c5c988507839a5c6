"""Ports on loopback for servers that are told where to listen."""

import socket


def free_port() -> int:
    """A port that nobody else is given while this process lives; its server sets SO_REUSEADDR, as servers do.

    One that is only looked up and let go may be another's by the time its server starts, or starts again.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port: int = keeper.getsockname()[1]
    keeper.detach()  # bound, never listening, until the process ends
    return port


def has_ipv6() -> bool:
    """Whether this machine has IPv6's loopback; a container often has none."""
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True
