"""What a program in a container sees of the network, by one that is run in it: names, packets, connections."""

import json
from typing import Any

from docker.models.containers import Container

PATIENCE_S = 2.0  # of a probe that nobody answers

_RESOLVE = """
def resolve(name):
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        return error.errno
"""
_ASK = """
def ask(server, name, type=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, type, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        udp.sendto(query, (server, 53))
        try:
            answer = udp.recv(4096)
        except OSError as error:
            return str(error)
    return {"code": answer[3] & 15, "answers": int.from_bytes(answer[6:8], "big"), "ttl": answer[-10:-6].hex()}
"""
_CONNECT = """
def connect(host, port):
    try:
        socket.create_connection((host, port), timeout=PATIENCE_S).close()
    except OSError as error:
        return str(error)
    return "open"
"""
_SEND = """
def send(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.sendto(b"hello", (host, port))
        except OSError as error:
            return str(error)
    return "sent"
"""
_ALL = """
def all_of(function, calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: globals()[function](*call), calls))
"""
_HEAD = f"""
import json, socket, struct, sys
from concurrent.futures import ThreadPoolExecutor
PATIENCE_S = {PATIENCE_S}
"""
_PROGRAM = "\n".join([_HEAD, _RESOLVE, _ASK, _CONNECT, _SEND, _ALL, "print(json.dumps(globals()[sys.argv[1]]("])
_PROGRAM += "*json.loads(sys.argv[2]))))"


def call(container: Container, function: str, *arguments: Any) -> Any:
    """What one of the functions above says, called in the container."""
    ended = container.exec_run(["python3", "-c", _PROGRAM, function, json.dumps(arguments)])
    assert ended.exit_code == 0, ended.output.decode()
    return json.loads(ended.output)


def resolve(container: Container, name: str) -> list[str] | int:
    """Its addresses, as the C library finds them; the error's number (EAI_…) where it has none."""
    found: list[str] | int = call(container, "resolve", name)
    return found


def reached(container: Container, targets: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those to which it gets a TCP connection; all are tried at once."""
    said = call(container, "all_of", "connect", targets)
    return [target for target, outcome in zip(targets, said, strict=True) if outcome == "open"]
