"""Loopback TCP ports: which are free, and which may be given to a server.

Ports for servers stay below 32768. Above it the kernel takes source ports for outgoing connections, and a
client that tries again and again to reach a server that is down would sooner or later be given that very
port, connect to itself and keep the server from coming back.
"""

import random
import socket
from collections.abc import Collection

_LOWEST, _HIGHEST = 10240, 32000
_TRIES = 200


class NoFreePortError(Exception):
    """No free loopback port was found; too many servers run on this machine."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now; connections that linger after a server's end do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def random_port(*, avoid: Collection[int] = ()) -> int:
    """A free port drawn at random, so that stacks which start at the same time seldom draw the same."""
    for _ in range(_TRIES):
        port = random.randrange(_LOWEST, _HIGHEST)
        if port not in avoid and is_free(port):
            return port
    raise NoFreePortError


def next_port(start: int, *, avoid: Collection[int] = ()) -> int:
    """The first free port from `start` up, outside `avoid`."""
    for port in range(start, min(start + 2000, 65536)):
        if port not in avoid and is_free(port):
            return port
    raise NoFreePortError
