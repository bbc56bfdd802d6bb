"""A git server and a name server out in the internet: `python -m tests.real.builds.far_git FOLDER PORT NAMES`.

NAMES is a JSON object, name → address; what it does not hold does not exist. Runs in the network namespace of `outside`.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset

from tests.builds.git_server import GitServer

PORT = 8098


@contextmanager
def far_git(namespace: str, folder: Path, names: Mapping[str, str]) -> Iterator[None]:
    """It is there, until the end of the block."""
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-m", __name__, str(folder), str(PORT), json.dumps(names)]
    program = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert program.stdout
        assert program.stdout.readline() == b"ready\n"
        yield
    finally:
        program.kill()
        program.wait()


def answer(query: bytes, names: Mapping[str, str]) -> bytes:
    """One question's answer."""
    asked = dns.message.from_wire(query)
    response = dns.message.make_response(asked)
    name = asked.question[0].name
    address = names.get(name.to_text(omit_final_dot=True))
    if address is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.question[0].rdtype == dns.rdatatype.A:
        response.answer = [dns.rrset.from_text(name, 1, "IN", "A", address)]
    return response.to_wire()


def main(folder: str, port: str, names: str) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 53))
    threading.Thread(target=GitServer(Path(folder), ("0.0.0.0", int(port))).serve_forever, daemon=True).start()
    print("ready", flush=True)
    while True:
        query, sender = udp.recvfrom(4096)
        udp.sendto(answer(query, json.loads(names)), sender)


if __name__ == "__main__":
    main(*sys.argv[1:])
