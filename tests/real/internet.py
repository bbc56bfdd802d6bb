"""The internet as this machine's containers may find it: a network namespace behind a veth, that nothing else is in.

It answers on TCP port PORT of OUTSIDE, and of addresses that no container may ever reach though the host does; on UDP
port 53 of OUTSIDE it says of every name that it is OUTSIDE. Named by chance, ended by id, gone afterwards.
Its addresses are always the same: who wants it while another test has it waits.
"""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.parts.cache import locked

HOST = "203.0.113.1"  # this machine's address towards it
OUTSIDE = "203.0.113.2"
PORT = 8000
FORBIDDEN = ("10.99.7.1", "172.31.7.1", "192.168.77.1", "100.64.7.1", "169.254.169.254", "198.18.7.1")

_PROGRAM = """
import socket, sys, threading
port, outside = int(sys.argv[1]), sys.argv[2]
tcp = socket.create_server(("0.0.0.0", port), backlog=128)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 53))
def names():
    while True:
        query, sender = udp.recvfrom(4096)
        question = query[12 : query.index(0, 12) + 5]
        is_a = question[-4:] == bytes([0, 1, 0, 1])
        found = bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]) + socket.inet_aton(outside) if is_a else b""
        udp.sendto(query[:2] + bytes([0x81, 0x80, 0, 1, 0, int(is_a), 0, 0, 0, 0]) + question + found, sender)
threading.Thread(target=names, daemon=True).start()
print("ready", flush=True)
while True:
    tcp.accept()[0].close()
"""


@contextmanager
def internet() -> Iterator[str]:
    """It is there, and reached from the host by all its addresses. Says the namespace's name."""
    with locked("outside"):
        yield from _internet()


def _internet() -> Iterator[str]:
    name = f"aht{secrets.token_hex(4)}"
    outer, inner = f"v{name}o", f"v{name}i"
    _ip("netns", "add", name)
    program = None
    try:
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("addr", "add", f"{HOST}/30", "dev", outer)
        _ip("link", "set", outer, "up")
        for address in (f"{OUTSIDE}/30", *(f"{one}/32" for one in FORBIDDEN)):
            _ip("-n", name, "addr", "add", address, "dev", inner)
        for link in ("lo", inner):
            _ip("-n", name, "link", "set", link, "up")
        for address in FORBIDDEN:
            _ip("route", "add", address, "via", OUTSIDE, "dev", outer)
        argv = ["ip", "netns", "exec", name, sys.executable, "-I", "-c", _PROGRAM, str(PORT), OUTSIDE]
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert program.stdout
        assert program.stdout.readline() == b"ready\n"
        yield name
    finally:
        if program is not None:
            program.kill()
            program.wait()
            assert program.stdout
            program.stdout.close()
        subprocess.run(["ip", "link", "del", outer], check=False, capture_output=True)
        _ip("netns", "del", name)


def opens_from(namespace: str, network: str, host: str, port: int) -> bool:
    """Whether somebody out there, who sends what is for the network to this machine, gets a connection."""
    _ip("-n", namespace, "route", "replace", network, "via", HOST)
    program = f"import socket; socket.create_connection(({host!r}, {port}), timeout=2)"
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-I", "-c", program]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
