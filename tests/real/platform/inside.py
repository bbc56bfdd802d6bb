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
_REACHED = """
async def opens(host, port):
    import asyncio
    opening = asyncio.open_connection(host, port) if port else asyncio.open_unix_connection(host)
    try:
        _, writer = await asyncio.wait_for(opening, PATIENCE_S)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.transport.abort()
    return True

def reached(targets):
    import asyncio
    async def all_of():
        return await asyncio.gather(*(opens(*target) for target in targets))
    return [target for target, is_open in zip(targets, asyncio.run(all_of())) if is_open]
"""
_HEAD = f"""
import json, socket, struct, sys
PATIENCE_S = {PATIENCE_S}
"""
_PROGRAM = "\n".join([_HEAD, _RESOLVE, _ASK, _CONNECT, _SEND, _REACHED, "print(json.dumps(globals()[sys.argv[1]]("])
_PROGRAM += "*json.loads(sys.argv[2]))))"


def argv(function: str, *arguments: Any) -> list[str]:
    """A command that prints what one of the functions above says, as JSON."""
    return ["python3", "-c", _PROGRAM, function, json.dumps(arguments)]


def call(container: Container, function: str, *arguments: Any) -> Any:
    """What one of the functions above says, called in the container."""
    ended = container.exec_run(argv(function, *arguments))
    assert ended.exit_code == 0, ended.output.decode()
    return json.loads(ended.output)


def resolve(container: Container, name: str) -> list[str] | int:
    """Its addresses, as the C library finds them; the error's number (EAI_…) where it has none."""
    found: list[str] | int = call(container, "resolve", name)
    return found


def reached(container: Container, targets: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those to which it gets a TCP connection, or a Unix one where the port is 0; all are tried at once."""
    return [(host, port) for host, port in call(container, "reached", targets)]
