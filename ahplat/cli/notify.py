"""What a service manager is told of a server (sd_notify(3)): that it is ready, that it stops. Without one nothing is."""

import contextlib
import os
import socket


def manager() -> str:
    """Where it listens, "" where there is none; asked once, at the start."""
    return os.environ.get("NOTIFY_SOCKET", "")


def tell(address: str, state: str) -> None:
    """Sends one state, such as READY=1. A manager that went is no reason to end."""
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker, contextlib.suppress(OSError):
            speaker.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
