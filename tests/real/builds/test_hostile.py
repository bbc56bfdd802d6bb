"""A build that tries everything: what it reaches of the host, of other tenants and of the platform. The table is printed."""

import asyncio
import io
import json
import socket
import subprocess
import tarfile
from collections.abc import Iterator

import docker
import pytest

from ahplat.builders.mirror import PORT as MIRROR
from ahplat.errors import Rejected
from tests.parts import docker as engine
from tests.real.builds.conftest import Yard
from tests.real.builds.outside import INTERNET, METADATA, PORT, PRIVATE, Outside, outside

pytestmark = pytest.mark.real

BASE = "FROM railwayapp/nixpacks:ubuntu-1745885067\n"
PROBE = """\
import json, sys, urllib.request
found = {}
for name, url in json.load(open("targets.json")).items():
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            found[name] = "reached"
    except urllib.error.HTTPError as error:
        found[name] = "reached"
    except OSError as error:
        found[name] = "no"
print("TABLE " + json.dumps(found))
"""


@pytest.fixture
def around() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module")
def neighbour(running: object) -> Iterator[str]:
    """Another tenant's container, as the platform would have it: on an internal network of its own. Its address."""
    sdk = docker.DockerClient(base_url=engine.HOST)
    network = sdk.networks.create(
        "hostile-test", internal=True, options={"com.docker.network.bridge.name": "ahhostile"}
    )
    container = sdk.containers.run(
        "hello:1", detach=True, runtime="runsc", network="hostile-test", environment={"PORT": "8000"}
    )
    try:
        container.reload()
        (attached,) = container.attrs["NetworkSettings"]["Networks"].values()
        yield attached["IPAddress"]
    finally:
        container.remove(force=True)
        network.remove()
        sdk.close()


def own_addresses() -> list[str]:
    """The host's, but for loopback and the builders' uplinks."""
    shown = json.loads(subprocess.run(["ip", "-j", "-4", "address"], check=True, capture_output=True).stdout)
    return [
        info["local"]
        for link in shown
        if link["ifname"] != "lo"
        for info in link.get("addr_info", [])
        if info.get("scope") == "global"
    ]


def targets(around: Outside, neighbour: str, namespace: str) -> dict[str, str]:
    """What it tries to reach: name → URL."""
    own = [address for address in own_addresses() if not address.startswith("203.0.113.")]
    route = subprocess.run(["ip", "-n", namespace, "route", "show", "default"], check=True, capture_output=True)
    uplink = route.stdout.decode().split()[2]
    return {
        "the internet": f"http://{INTERNET}:{PORT}/",
        "the host, by its uplink": f"http://{uplink}:{around.host_port}/",
        "the host, by a public address": f"http://203.0.113.1:{around.host_port}/",
        **{f"the host, by {address}": f"http://{address}:{around.host_port}/" for address in own[:6]},
        "the builder's own bridge": f"http://100.126.0.1:{MIRROR}/v2/",
        "the builder's own uplink": f"http://{uplink[:-1]}{int(uplink[-1]) + 1}:{MIRROR}/v2/",
        "the registry on loopback": "http://127.0.0.1:5000/v2/",
        "a private network": f"http://{PRIVATE}:{PORT}/",
        "the metadata address": f"http://{METADATA}:{PORT}/",
        "another tenant's container": f"http://{neighbour}:8000/",
    }


async def namespace_of(yard: Yard, tenant_id: str) -> str:
    """The network namespace of a tenant's builder, which it has once it was started."""
    await yard.builder._daemon(tenant_id).start()
    return yard.builder._daemon(tenant_id)._network.name


async def test_a_step_reaches_the_internet_and_nothing_else(yard: Yard, around: Outside, neighbour: str) -> None:
    tenant = yard.tenant()
    wanted = targets(around, neighbour, await namespace_of(yard, tenant))
    job = yard.job(
        tenant,
        {
            "Dockerfile": BASE + "COPY . /t\nWORKDIR /t\nRUN cat /proc/version && python3 probe.py\n",
            "probe.py": PROBE,
            "targets.json": json.dumps(wanted),
        },
    )
    await yard.run(job)
    said = yard.said(job)
    table = json.loads(said.partition("TABLE ")[2].splitlines()[0])
    print("\n".join(f"RUN  {name:<32} {answer}" for name, answer in table.items()))
    assert "gvisor" in said
    assert table.pop("the internet") == "reached"
    assert set(table.values()) == {"no"}, table


async def test_what_the_builder_fetches_itself_is_bounded_alike(yard: Yard, around: Outside, neighbour: str) -> None:
    tenant = yard.tenant()
    wanted = targets(around, neighbour, await namespace_of(yard, tenant))
    wanted["the mirror, for base images"] = f"http://127.0.0.1:{MIRROR}/v2/"
    wanted["the mirror, for a tenant's image"] = f"http://127.0.0.1:{MIRROR}/v2/ah/other-web/manifests/1"
    jobs = [yard.job(tenant, {"Dockerfile": f"FROM scratch\nADD {url} /x\n"}) for url in wanted.values()]
    answers = await asyncio.gather(
        *(ends(yard, job) for job in jobs)
    )  # each is tried for a while before it is given up
    table = dict(zip(wanted, answers, strict=True))
    print("\n".join(f"ADD  {name:<32} {answer}" for name, answer in table.items()))
    assert table.pop("the internet") == "reached"
    assert table.pop("the mirror, for base images") == "reached"  # an empty object, to be read by anybody
    assert set(table.values()) == {"no"}, table


async def test_images_of_others_cannot_be_built_on(yard: Yard) -> None:
    victim, thief = yard.tenant(), yard.tenant()
    theirs = yard.job(victim, {"Dockerfile": "FROM scratch\nCOPY Dockerfile /secret\n"})
    digest = await yard.run(theirs)
    path = theirs.image.partition("/")[2]
    repository = path.partition(":")[0]
    tries = {
        "FROM the registry": f"FROM {theirs.image}\n",
        "FROM the mirror": f"FROM 127.0.0.1:{MIRROR}/{path}\n",
        "FROM ghcr.io, by the mirror": f"FROM ghcr.io/{path}\n",
        "FROM docker.io, by the mirror": f"FROM {path}\n",
        "FROM a digest": f"FROM 127.0.0.1:{MIRROR}/library/hello@{digest}\n",
        "FROM a dotted path": f"FROM 127.0.0.1:{MIRROR}/library/../{repository}:1\n",
        "COPY --from": f"FROM scratch\nCOPY --from=127.0.0.1:{MIRROR}/{path} /secret /x\n",
        "a frontend of theirs": f"# syntax={theirs.image}\nFROM scratch\nCOPY Dockerfile /x\n",
        "a frontend, by the mirror": f"# syntax=127.0.0.1:{MIRROR}/{path}\nFROM scratch\nCOPY Dockerfile /x\n",
    }
    table = {name: await ends(yard, yard.job(thief, {"Dockerfile": text})) for name, text in tries.items()}
    print("\n".join(f"     {name:<32} {answer}" for name, answer in table.items()))
    assert set(table.values()) == {"no"}, table


async def test_a_cache_of_another_tenant_is_empty(yard: Yard) -> None:
    mount = "RUN --mount=type=cache,id=shared,target=/c"
    one, other = yard.tenant(), yard.tenant()
    await yard.run(yard.job(one, {"Dockerfile": f"{BASE}{mount} echo theirs > /c/secret\n"}))
    again = yard.job(one, {"Dockerfile": f"{BASE}{mount} echo found: $(cat /c/secret)\n"})
    await yard.run(again)
    assert "found: theirs" in yard.said(again)
    looks = yard.job(other, {"Dockerfile": f"{BASE}{mount} echo found: $(ls -A /c)\n"})
    await yard.run(looks)
    assert "found: theirs" not in yard.said(looks)
    assert "secret" not in yard.said(looks).partition("found:")[2]


async def test_more_rights_cannot_be_asked_for(yard: Yard) -> None:
    tenant = yard.tenant()
    tries = {
        "an insecure step": BASE + "RUN --security=insecure id\n",
        "the host's network": BASE + "RUN --network=host id\n",
        "a secret": BASE + "RUN --mount=type=secret,id=x,required=true cat /run/secrets/x\n",
        "an agent": BASE + "RUN --mount=type=ssh,required=true id\n",
    }
    table = {name: await ends(yard, yard.job(tenant, {"Dockerfile": text})) for name, text in tries.items()}
    assert set(table.values()) == {"no"}, table


async def test_no_git_of_the_host_is_started_for_what_a_dockerfile_names(yard: Yard) -> None:
    tenant = yard.tenant()
    for source in ("https://example.org/any.git", "git@example.org:any.git", "https://example.org/any.git#main:sub"):
        job = yard.job(tenant, {"Dockerfile": f"FROM scratch\nADD {source} /x\n"})
        assert await ends(yard, job) == "no"
        assert "denied by policy" in yard.said(job)


async def test_no_program_of_the_host_unpacks_what_a_tenant_sent(yard: Yard) -> None:
    tenant, packed = yard.tenant(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    job = yard.job(tenant, {"Dockerfile": "FROM scratch\nADD t.tar.xz /x/\n", "t.tar.xz": packed.getvalue()})
    assert await ends(yard, job) == "no"
    assert "xz" in yard.said(job).rpartition("executable file not found")[0]


async def test_a_step_sees_nothing_of_the_host(yard: Yard) -> None:
    tenant = yard.tenant()
    job = yard.job(
        tenant, {"Dockerfile": BASE + "RUN cat /proc/version; ls -1 /proc | grep -c '^[0-9]'; hostname; mount\n"}
    )
    await yard.run(job)
    said = yard.said(job)
    assert "gvisor" in said
    assert socket.gethostname() not in said
    assert str(yard.folder) not in said


async def ends(yard: Yard, job: object) -> str:
    """Whether a build came to its image: `reached`, or `no`."""
    try:
        await yard.run(job)  # type: ignore[arg-type]
    except Rejected as rejected:
        assert rejected.code == "build_failed", rejected
        return "no"
    return "reached"
