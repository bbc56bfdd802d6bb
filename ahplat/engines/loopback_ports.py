"""Ports of embedded instances: below the kernel's ephemeral range, so that no outgoing connection takes one."""

import secrets
import socket
from collections.abc import Collection

from ahplat import limits
from ahplat.engines.run_folder import HOST
from ahplat.errors import EngineAway


def choose(before: int, given: Collection[int]) -> int:
    """The one that an instance had before (0: none), so that who knows it finds it again; else one that nobody has.

    `given` are those of all instances. Raises EngineAway where there is none.
    """
    if before and _is_free(before):
        return before
    ports = limits.EMBEDDED_PORTS
    first = secrets.randbelow(len(ports))
    for step in range(len(ports)):
        port = ports[(first + step) % len(ports)]
        if port not in given and _is_free(port):
            return port
    raise EngineAway(f"expected a free port in {ports}, found none")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
