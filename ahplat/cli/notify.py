"""What a service manager is told of a server (sd_notify(3)): that it is ready, that it stops. Without one nothing is."""

import os
import socket

VARIABLE = "NOTIFY_SOCKET"


def taken() -> str:
    """The manager's address, "" where there is none. Taken out of the environment: no program that we start speaks for us."""
    return os.environ.pop(VARIABLE, "")


def tell(address: str, state: str) -> None:
    """Sends one state, such as READY=1, where somebody listens. A manager that went is no reason to end."""
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        try:
            speaker.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return
