"""A search for secrets: in files, in what runs while it goes on, in what Docker keeps; as they are, in hex, in Base64.

They are of letters, digits, `-` and `_`, which no URL, JSON or shell quotes.
A place is a name and what is there. What is gzipped is looked at unpacked, too. Of a process it is the command line
and the environment; all that come and go are seen that live for longer than two looks are apart.
"""

import gzip
import json
import os
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

from tests.parts import docker as engine
from tests.parts.cache import folder

LOOK_S = 0.05  # between two looks at the processes
CONTAINERD = "containerd/daemon/io.containerd.runtime.v2.task/moby"  # one folder for each container that runs
LARGEST = 16 * 1024 * 1024  # bytes of a file that is looked at
A_DAY_S = 86_400
Places = Iterator[tuple[str, bytes]]


def forms(secret: str) -> set[bytes]:
    """How it may stand somewhere. Base64 at each offset in what is encoded, less the characters that its neighbours change."""
    raw = secret.encode()
    shifted = [b64encode(bytes(offset) + raw).rstrip(b"=")[-(-offset * 8 // 6) : -1] for offset in range(3)]
    url_safe = [one.replace(b"+", b"-").replace(b"/", b"_") for one in shifted]
    return {raw, raw.hex().encode(), raw.hex().upper().encode(), *shifted, *url_safe}


def found_in(places: Iterable[tuple[str, bytes]], secrets: Mapping[str, str]) -> set[tuple[str, str]]:
    """Place and name of each secret that stands there."""
    sought = {name: forms(secret) for name, secret in secrets.items()}
    found = set()
    for place, content in places:
        unpacked = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else b""
        for name, each in sought.items():
            if any(form in content or form in unpacked for form in each):
                found.add((place, name))
    return found


def files(name: str, root: Path) -> Places:
    """All files below a folder, but for layers of base images and what was unpacked of them."""
    for path in sorted(root.rglob("*")):
        with suppress(FileNotFoundError):  # some go meanwhile
            if path.is_file() and not path.is_symlink() and not _came_with_an_image(path.stat()):
                yield f"{name}/{path.relative_to(root)}", path.read_bytes()


def _came_with_an_image(status: os.stat_result) -> bool:
    """It is larger than what we write, or was last changed long before it came here, as only unpacking does."""
    return status.st_size > LARGEST or status.st_mtime < status.st_ctime - A_DAY_S


@contextmanager
def watched(but: bytes) -> Iterator[set[tuple[str, bytes]]]:
    """Places: command lines and environments of all processes that are seen in the block.

    But for those that ran before, and those of the test, which have `but` in their environment.
    """
    before = {path.name for path in Path("/proc").glob("[0-9]*")}
    seen: set[tuple[str, bytes]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            for process in Path("/proc").glob("[0-9]*"):
                if process.name not in before:
                    with suppress(OSError):
                        seen.update(of_process(process, but))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def of_process(process: Path, but: bytes) -> Places:
    """Its command line and environment."""
    argv, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
    if but in environment:
        return
    name = "server" if b"\0--tenant-pool\0" in argv else (process / "comm").read_text().strip()
    yield f"command line: {name}", argv
    yield f"environment: {name}", environment


def in_docker(sdk: docker.DockerClient, installation: str) -> Places:
    """What Docker says and keeps of an installation."""
    label = {"label": f"ah.instance={installation}"}
    for container in sdk.containers.list(all=True, filters=label, ignore_removed=True):
        kind = "database" if "ah.database" in container.labels else "service"
        yield f"inspect: {kind}", json.dumps(container.attrs).encode()
        yield from files(f"docker: {kind}", folder("docker", "data", "containers", str(container.id)))
        yield from files(f"containerd: {kind}", engine.RUN / "exec" / CONTAINERD / str(container.id))
    for thing in (*sdk.networks.list(filters=label), *sdk.volumes.list(filters=label)):
        yield "inspect: network or volume", json.dumps(thing.attrs).encode()
    for volume in sdk.volumes.list(filters=label):
        yield from files("volume", Path(volume.attrs["Mountpoint"]))
    for image in sdk.images.list(all=True):
        with suppress(docker.errors.NotFound):  # another test's
            yield "inspect: image", json.dumps([image.attrs, image.history()]).encode()
    yield from files("docker: its log", folder("logs"))
