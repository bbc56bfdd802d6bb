"""What reads a tenant's repository, git and nixpacks, is held in as its steps are: its kernel, its files, its network."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from ahplat import limits
from ahplat.builders.builder import Job
from ahplat.builders.sandbox import Room, room
from ahplat.builders.workplace import Said, Workplace
from ahplat.errors import Rejected
from tests.builds.marked import of_build, of_builds
from tests.real.builds.conftest import Yard
from tests.real.builds.far_git import PORT as GIT
from tests.real.builds.far_git import far_git
from tests.real.builds.outside import INTERNET, METADATA, PORT, PRIVATE, Outside, outside

pytestmark = pytest.mark.real

APP = {"main.py": "import time; time.sleep(60)\n"}
FAR = {"git.test": INTERNET, "loopback.test": "127.0.0.1", "metadata.test": METADATA, "private.test": PRIVATE}


@pytest.fixture
def around() -> Iterator[Outside]:
    with outside() as made:
        yield made


@asynccontextmanager
async def inside(yard: Yard, tenant: str, url: str = "") -> AsyncIterator[tuple[Room, Workplace]]:
    """A room as git has it for `url`, or nixpacks; nothing of it is left at the end."""
    place = Workplace(yard.folder / "builds", secrets.token_hex(16))
    await place.begin()
    place.source.mkdir()
    async with yard.builder._awake(tenant) as daemon:
        try:
            async with room(place, place.source, 1_000_000, yard.builder._confinement(daemon, url)) as made:
                yield made, place
            assert of_build(place.folder.name) == []
            async with asyncio.timeout(5):  # what was killed leaves the cgroup a moment later
                while daemon.cgroup.pids():
                    await asyncio.sleep(0.01)
        finally:
            await place.discard()
            await yard.builder.forget_tenant(tenant)


async def says(made: Room, script: str) -> str:
    said = Said(64 * 1024)
    await made.run(["sh", "-c", script], said.hear, 20)
    return said.text


async def test_it_has_gvisors_kernel_and_one_folder_to_write(yard: Yard) -> None:
    tenant = yard.tenant()
    (yard.folder / "secret").write_text("a secret of the server")
    async with inside(yard, tenant) as (made, place):
        assert "gvisor" in await says(made, "cat /proc/version")
        assert await says(made, "pwd; echo mine > f; cat f") == "/build\nmine\n"
        assert (place.source / "f").read_text() == "mine\n"
        for path in ("/usr/x", "/etc/x", "/x", "/programs/x", "/bin/x"):
            assert "Read-only file system" in await says(made, f"echo > {path}")
        assert await says(made, f"ls {place.folder} {yard.folder} /root /home /var /run 2>/dev/null") == ""
        assert await says(made, "ls -A /etc/ssl") == "certs\n"
        assert await says(made, "env | grep -v -e ^PATH= -e ^PWD= | sort") == "HOME=/tmp\nLANG=C.UTF-8\nTMPDIR=/tmp\n"
        assert "AH_" not in await says(made, "cat /proc/*/environ")
        assert "not permitted" in await says(made, "mknod d b 8 0; mount -t tmpfs x /tmp")


async def test_a_link_that_it_makes_leads_nowhere(yard: Yard) -> None:
    tenant = yard.tenant()
    (yard.folder / "secret").write_text("a secret of the server")
    async with inside(yard, tenant) as (made, place):
        script = f"ln -s {yard.folder}/secret link; cat link; echo changed > link; ln -s ../sandbox s; ls s/"
        assert "No such file" in await says(made, script)
        assert (place.source / "link").is_symlink()
    assert (yard.folder / "secret").read_text() == "a secret of the server"


async def test_it_is_bounded_as_the_build_is(yard: Yard) -> None:
    yard.bounded(memory_mb=300)
    tenant = yard.tenant()
    async with inside(yard, tenant) as (made, place):
        cgroup = yard.builder._daemon(tenant).cgroup
        assert len(cgroup.pids()) > len(of_build(place.folder.name)) >= 2
        assert "File too large" in await says(made, "trap '' XFSZ; head -c 3000000 /dev/zero > f")
        assert (place.source / "f").stat().st_size == 1_000_000
        await says(made, "head -c 600000000 /dev/zero | tail -c 600000000 > /dev/null")
        assert cgroup.memory_kills() > 0


async def test_a_program_that_forks_without_end_is_ended_in_time(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUILD_PIDS", 300)
    tenant = yard.tenant()
    async with inside(yard, tenant) as (made, _):
        running = asyncio.ensure_future(made.run(["sh", "-c", "f() { f | f & }; f; sleep 60"], Said(1_000).hear, 5))
        most = 0
        while not running.done():
            most = max(most, len(yard.builder._daemon(tenant).cgroup.pids()))
            await asyncio.sleep(0.1)
        with suppress(Rejected):  # build_timeout, where its shell did not give up before
            await running
        assert 20 < most <= 300


async def test_nixpacks_has_no_network_and_git_only_the_builders(yard: Yard, around: Outside) -> None:
    probe = (
        "import socket, sys\n"
        "for name, (address, port) in {targets}.items():\n"
        "    try: socket.create_connection((address, port), 2).close(); print(name, 'reached')\n"
        "    except OSError: print(name, 'no')\n"
    )
    targets = {
        "internet": (INTERNET, PORT),
        "host": ("203.0.113.1", around.host_port),
        "loopback": ("127.0.0.1", around.host_port),
        "registry": ("127.0.0.1", 5000),
        "metadata": (METADATA, PORT),
        "private": (PRIVATE, PORT),
    }
    for url, reached in (("", "no"), ("https://github.com/a/b", "reached")):
        tenant = yard.tenant()
        async with inside(yard, tenant, url) as (made, _):
            said = Said(10_000)
            assert (
                await made.run(["/usr/bin/python3", "-c", probe.replace("{targets}", repr(targets))], said.hear, 30)
                == 0
            )
            table = dict(line.split() for line in said.text.splitlines())
            assert table.pop("internet") == reached
            assert set(table) == set(targets) - {"internet"}
            assert set(table.values()) == {"no"}, table


async def test_a_name_that_leads_to_an_address_that_is_closed_is_not_cloned(yard: Yard, around: Outside) -> None:
    yard.bounded(nameservers=(INTERNET,))
    tenant = yard.tenant()
    origin = yard.job(tenant, APP, builder="nixpacks")
    names = FAR | {"host.test": "203.0.113.1"}
    with far_git(around.namespace, yard.git.folder, names):
        assert await clone(yard, origin, f"http://git.test:{GIT}") == origin.commit
        for name, port in {"loopback": 5000, "metadata": PORT, "private": PORT, "host": around.host_port}.items():
            with pytest.raises(Rejected, match="source_unreachable") as caught:
                await clone(yard, origin, f"http://{name}.test:{port}")
            assert "public addresses only" in caught.value.detail
        with pytest.raises(Rejected, match="source_unreachable"):
            await clone(yard, origin, "http://nowhere.test")


async def clone(yard: Yard, origin: Job, server: str) -> str:
    """The commit; of the same repository on another server."""
    path = origin.url.rpartition("/")[2]
    job = replace(origin, build_id=secrets.token_hex(16), url=f"{server}/{path}", commit="")
    yard.made.append(job)
    with yard.logs.open(job.tenant_id, job.build_id, []) as log:
        return await yard.builder.clone(job, log)


async def test_a_clone_that_is_cancelled_leaves_nothing(yard: Yard) -> None:
    job = yard.job(yard.tenant(), APP, builder="nixpacks")
    fetch = job.url.rpartition("/")[2] + "/git-upload-pack"
    yard.git.delay.append((fetch, threading.Event()))
    cloning = asyncio.ensure_future(yard.run(job))
    async with asyncio.timeout(20):
        while not any(fetch in asked for asked in yard.git.asked):
            await asyncio.sleep(0.02)
    running = of_builds(yard.folder / "builds")
    assert len(running) >= 4, "two sandboxes are of two programs each that are found by a name"
    for pid in running:
        assert Path(f"/proc/{pid}/exe").readlink().name in ("runsc", "exe")
    cloning.cancel()
    await asyncio.gather(cloning, return_exceptions=True)
    yard.git.delay.clear()
    assert not set(running) & set(yard.builder._daemon(job.tenant_id).cgroup.pids())
    assert [path.name for path in (yard.folder / "builds").iterdir()] == [job.build_id]


async def test_a_builder_whose_start_is_given_up_is_started_again(yard: Yard) -> None:
    tenant = yard.tenant()
    daemon = yard.builder._daemon(tenant)
    try:
        starting = asyncio.ensure_future(daemon.start())
        async with asyncio.timeout(20):
            while not daemon.cgroup.pids():
                await asyncio.sleep(0.005)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert daemon.cgroup.pids() == []
        await daemon.start()
        assert daemon.cgroup.pids()
    finally:
        await yard.builder.forget_tenant(tenant)
