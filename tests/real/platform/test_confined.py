"""The server under the restrictions of its systemd unit does all its work: a build, a route, a command, a backup."""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ahplat.backups.pairs import newest
from ahplat.config import BACKUPS
from tests.builds.git_server import GitServer, serving
from tests.parts.parts import Parts
from tests.real.platform.confined import NOT_TRIED, TRIED, read_unit
from tests.real.platform.conftest import MakeServer
from tests.real.platform.router import Traefik
from tests.real.platform.server import OPEN, Server, Service, eventually
from tests.real.platform.test_builds import APP, build, ended, log_of

pytestmark = pytest.mark.real

TREE = Path(__file__).resolve().parents[3]
UNIT = TREE / "deploy/systemd/ahplat.service"
DOCKERFILE = """\
FROM railwayapp/nixpacks:ubuntu-1745885067
WORKDIR /app
COPY . .
RUN stat -c %a main.py > said.txt && touch run && chmod u+s run && test -u run && mknod null c 1 3 || true
CMD ["python3", "main.py"]
"""


@pytest.fixture(scope="module")
def git_server() -> Iterator[GitServer]:
    with tempfile.TemporaryDirectory(prefix="ah-git-") as folder, serving(Path(folder)) as server:
        server.repository("planned", {"main.py": APP, "said.txt": "planned "})
        server.repository("docker", {"main.py": APP, "said.txt": "", "Dockerfile": DOCKERFILE})
        yield server


@dataclass
class Site:
    """A server under its unit's restrictions, and the router that it tells."""

    server: Server
    traefik: Traefik

    def get(self, service: Service) -> str:
        """What a service answers, through the router."""
        host = urlsplit(service.now["url"]).hostname
        assert host
        return self.traefik.get(host).text


@pytest.fixture(scope="module", params=["gvisor", "none"])
def site(
    running: Parts, make_server: MakeServer, git_server: GitServer, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """With builds isolated, and not: runc makes other calls than runsc."""
    server = make_server(PATH=":".join([*map(str, running.builders), os.environ["PATH"]]), PYTHONPATH=str(TREE))
    traefik = Traefik(server.folder / "router").start()
    builds = ("--allow-git-host", git_server.host, "--build-isolation", request.param)
    server.options = (*OPEN, *builds, "--backup-every", "5", *traefik.options)
    shown = {str(TREE), sys.prefix, sys.base_prefix, *map(str, running.builders)}
    confined = str(Path(__file__).with_name("confined.py"))
    server.runs_by = (sys.executable, confined, str(UNIT), str(server.folder), *sorted(shown), "--")
    server.start()
    yield Site(server, traefik)
    server.end()
    traefik.end()


def kernel_says(pid: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Of a process: its status, and where it sees something mounted and how."""
    rows = [row.partition(":") for row in Path(f"/proc/{pid}/status").read_text().splitlines()]
    mounts = [row.split() for row in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return {name: value.strip() for name, _, value in rows}, {row[4]: row[5].split(",") for row in mounts}


def test_every_restriction_of_the_unit_is_tried_here_or_named_as_one_that_is_not() -> None:
    about = {"Type", "ExecStart", "EnvironmentFile", "Environment", "Restart", "RestartSec", "KillMode", "LimitNOFILE"}
    about |= {"TimeoutStartSec", "TimeoutStopSec", "Delegate"}
    assert read_unit(UNIT).keys() == TRIED | NOT_TRIED | about


def test_it_is_restricted(site: Site) -> None:
    status, mounts = kernel_says(site.server.pid)
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0077")
    assert int(status["CapEff"], 16).bit_count() <= len(read_unit(UNIT)["CapabilityBoundingSet"])
    assert ("ro" in mounts["/"], "rw" in mounts["/run"], "rw" in mounts[str(site.server.folder)]) == (True, True, True)
    assert {"/root", "/tmp"} <= mounts.keys()


@pytest.mark.sampled
@pytest.mark.parametrize("builder", ["nixpacks", "dockerfile"])
def test_it_builds_deploys_routes_and_runs_commands(site: Site, git_server: GitServer, builder: str) -> None:
    service = site.server.register(f"t{os.urandom(4).hex()}").create("web", "pending", egress="internet")
    repository, begins = {"nixpacks": ("planned", "planned "), "dockerfile": ("docker", "644\n")}[builder]
    build_id = build(service, git_server, repository, builder=builder)
    said = log_of(service, build_id)
    assert ended(service, build_id)["status"] == "succeeded", said
    service.until("running")
    answer = site.get(service)
    assert answer.startswith(begins) and "gvisor" in answer
    body = {"command": ["cat", "said.txt"]}
    done = service.tenant.call("POST", f"{service.path}/exec", body, Idempotency_Key="once")
    assert (done["exit_code"], done["stdout"]) == (0, begins)


def test_it_keeps_volumes_and_goes_back(site: Site) -> None:
    service = site.server.register(f"t{os.urandom(4).hex()}").run("web", volumes={"data": "/data"})
    service.order("restart", wait_s=30)
    assert service.until("running")["volumes"] == {"data": "/data"}


def test_it_makes_backups_of_itself(site: Site) -> None:
    pair = eventually(lambda: newest(site.server.folder / BACKUPS))
    assert pair.about().position > 0
