"""What the platform adds to a build: from the POST to the pushed image, beside the same tools by themselves.

Both are warm: the same source with one changed line a round, all else from the cache of the same builder. What is bare
is measured in parts: `git clone`, `nixpacks build --out`, `buildctl build`, and the push in as few requests as it takes.
One figure has all four beside ours, the other the two in the middle, for a folder that is there and an image that stays.
Neither begins before what the round before it deployed serves alone.
"""

import http.client
import ipaddress
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import docker as sdk

from events.builds import BuildPushed, BuildRequested
from events.database import open_reader
from events.event import wire_name
from events.log import read_all
from tests.bench.deploying import PIECES, POOL, installation_of
from tests.bench.figure import Figure
from tests.bench.process import Served, docker_is_here, platform, register, serving
from tests.builds.git_server import GitServer
from tests.builds.git_server import serving as serving_git
from tests.parts import buildkit, docker, gvisor, nixpacks, registry
from tests.real.beside import wipe

APP = "import signal\nprint({number})\nsignal.signal(signal.SIGTERM, lambda *_: exit())\nsignal.pause()\n"
SETTLED_S = 60


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Milliseconds of a build, ours and the bare one in turn."""
    if not docker_is_here():
        return
    programs = [buildkit.path(), nixpacks.path().parent, gvisor.path().parent]
    os.environ["PATH"] = ":".join([*map(str, programs), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as repositories, serving_git(Path(repositories)) as git:
        pool = f"{ipaddress.ip_address(POOL + secrets.randbelow(PIECES) * 4096)}/20"
        options = ("--docker-host", docker.HOST, "--allow-git-host", git.host, "--tenant-pool", pool)
        try:
            with serving(platform(folder / "ours", *options, engine="docker"), folder / "log") as server:
                both = in_turn(server, git, folder, rounds=3 if quick else 8)
        finally:
            wipe(sdk.DockerClient(base_url=docker.HOST), installation_of(folder / "ours"))
    ours = median(one for one, _ in both)
    yield Figure("build, docker", "ms", ours, median(sum(parts[1:3]) for _, parts in both))
    yield Figure("build, docker, from a clone to a push", "ms", ours, median(sum(parts) for _, parts in both))


def in_turn(server: Served, git: GitServer, folder: Path, rounds: int) -> list[tuple[float, list[float]]]:
    """(ours, bare) of each round; the first, which fetches the base image, is not counted."""
    key = register(server)
    tenant_id = server.ask("GET", "/v1/tenant", key)["id"]
    service = server.ask("POST", "/v1/services", key, {"name": "web", "image": "pending", "port": 0})
    found = []
    for number in range(rounds + 1):
        commit(git, number)
        of_ours = ours(server, key, service["id"], git, folder)
        settled(server, key, service["id"])
        commit(git, number)
        found.append((of_ours, bare(tenant_id, git, folder / f"bare{number}")))
    server.ask("DELETE", f"/v1/services/{service['id']}", key)
    return found[1:]


def commit(git: GitServer, number: int) -> None:
    """One changed line."""
    git.repository("app", {"main.py": APP.format(number=f"{number}, '{secrets.token_hex(4)}'")})


def ours(server: Served, key: str, service_id: str, git: GitServer, folder: Path) -> float:
    """From the request to the pushed image, as the log has it."""
    path = f"/v1/services/{service_id}/builds"
    build: Any = server.ask("POST", path, key, {"git_url": git.url("app")}, Prefer="wait=60")
    assert build["status"] == "succeeded", build
    with open_reader(folder / "ours" / "events.db") as log:
        of_build = [at for at in read_all(log, 0, 1_000_000) if at.stream == f"build-{build['id']}"]
    at_us = {at.type: at.at_us for at in of_build}
    return (at_us[wire_name(BuildPushed)] - at_us[wire_name(BuildRequested)]) / 1000


def settled(server: Served, key: str, service_id: str) -> None:
    """Waits until what was built serves, and nothing else of the service runs."""
    deadline = time.monotonic() + SETTLED_S
    while True:
        newest, *older = server.ask("GET", f"/v1/services/{service_id}/deployments?limit=2", key)
        if newest["status"] == "running" and all(one["status"] == "stopped" for one in older):
            return
        assert time.monotonic() < deadline, (newest, older)
        time.sleep(0.05)


def bare(tenant_id: str, git: GitServer, folder: Path) -> list[float]:
    """The tools, on the tenant's own builder: what each took."""
    source, into = folder / "source", folder / "image"
    folder.mkdir()
    clone = ["git", "clone", "--quiet", "--depth=1", git.url("app"), str(source)]
    plan = ["nixpacks", "build", str(source), "--name", "app", "--out", str(source)]
    build = ["buildctl", "--addr", f"unix:///run/ah-build/{tenant_id}", "build", "--frontend", "dockerfile.v0"]
    build += ["--local", f"context={source}", "--local", f"dockerfile={source}/.nixpacks"]
    build += ["--output", f"type=oci,dest={into},tar=false"]
    took = []
    for argv in (clone, plan, build):
        began = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True)
        took.append((time.perf_counter() - began) * 1000)
    began = time.perf_counter()
    push(into, f"bench/{tenant_id}")
    return [*took, (time.perf_counter() - began) * 1000]


def push(layout: Path, repository: str) -> None:
    """An image, by one connection to the registry."""
    connection = http.client.HTTPConnection(registry.ADDRESS, timeout=60)

    def ask(method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> tuple[int, str]:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300 or answer.status == 404, (method, path, answer.status)
        return answer.status, answer.headers.get("Location", "")

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

    found = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    manifest = json.loads(blob(found["digest"]))
    for one in (*manifest["layers"], manifest["config"]):
        if ask("HEAD", f"/v2/{repository}/blobs/{one['digest']}")[0] == 404:
            _, upload = ask("POST", f"/v2/{repository}/blobs/uploads/")
            ask("PUT", f"{upload}&digest={one['digest']}", blob(one["digest"]))
    ask("PUT", f"/v2/{repository}/manifests/bench", blob(found["digest"]), found["mediaType"])
    connection.close()
