"""What the platform adds to a build: from the POST to the pushed image, beside Nixpacks and BuildKit by themselves.

Both are warm: the same source with one changed line a round, all else from the cache of the same builder. The bare one
is `nixpacks build --out` and `buildctl build` of a folder that is there; ours also clones it from a git server, plans,
and pushes to the registry.
"""

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from events.builds import BuildPushed, BuildRequested
from events.database import open_reader
from events.event import wire_name
from events.log import read_all
from tests.bench.figure import Figure
from tests.bench.process import Served, docker_is_here, platform, register, serving
from tests.builds.git_server import GitServer
from tests.builds.git_server import serving as serving_git
from tests.parts import buildkit, docker, gvisor, nixpacks

APP = "import time\nprint({number})\ntime.sleep(1)\n"


def figures(folder: Path, quick: bool) -> Iterator[Figure]:
    """Milliseconds of a build, ours and the bare one in turn."""
    if not docker_is_here():
        return
    programs = [buildkit.path(), nixpacks.path().parent, gvisor.path().parent]
    os.environ["PATH"] = ":".join([*map(str, programs), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as repositories, serving_git(Path(repositories)) as git:
        options = ("--docker-host", docker.HOST, "--allow-git-host", git.host)
        with serving(platform(folder / "ours", *options, engine="docker"), folder / "log") as server:
            both = in_turn(server, git, folder, rounds=3 if quick else 8)
    yield Figure("build, docker", "ms", median(one for one, _ in both), median(other for _, other in both))


def in_turn(server: Served, git: GitServer, folder: Path, rounds: int) -> list[tuple[float, float]]:
    """(ours, bare) of each round; the first, which fetches the base image, is not counted."""
    key = register(server)
    tenant_id = server.ask("GET", "/v1/tenant", key)["id"]
    service = server.ask("POST", "/v1/services", key, {"name": "web", "image": "pending", "port": 0})
    found = []
    for number in range(rounds + 1):
        git.repository("app", {"main.py": APP.format(number=f"{number}, '{secrets.token_hex(4)}'")})
        found.append((ours(server, key, service["id"], git, folder), bare(tenant_id, folder, number)))
    server.ask("DELETE", f"/v1/services/{service['id']}", key)
    return found[1:]


def ours(server: Served, key: str, service_id: str, git: GitServer, folder: Path) -> float:
    """From the request to the pushed image, as the log has it."""
    path = f"/v1/services/{service_id}/builds"
    build: Any = server.ask("POST", path, key, {"git_url": git.url("app")}, Prefer="wait=60")
    assert build["status"] == "succeeded", build
    with open_reader(folder / "ours" / "events.db") as log:
        of_build = [at for at in read_all(log, 0, 1_000_000) if at.stream == f"build-{build['id']}"]
    at_us = {at.type: at.at_us for at in of_build}
    return (at_us[wire_name(BuildPushed)] - at_us[wire_name(BuildRequested)]) / 1000


def bare(tenant_id: str, folder: Path, number: int) -> float:
    """The two programs, on the tenant's own builder."""
    source, into = folder / f"source{number}", folder / f"image{number}"
    source.mkdir()
    (source / "main.py").write_text(APP.format(number=f"{number}, '{secrets.token_hex(4)}'"))
    plan = ["nixpacks", "build", str(source), "--name", "app", "--out", str(source)]
    build = ["buildctl", "--addr", f"unix:///run/ah-build/{tenant_id}", "build", "--frontend", "dockerfile.v0"]
    build += ["--local", f"context={source}", "--local", f"dockerfile={source}/.nixpacks"]
    build += ["--output", f"type=oci,dest={into},tar=false"]
    began = time.perf_counter()
    for argv in (plan, build):
        subprocess.run(argv, check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000
