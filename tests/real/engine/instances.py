"""What tests of the docker engine share: networks and specs of their own, and how to ask what runs."""

import asyncio
import ipaddress
import time
import urllib.error
import urllib.request
from functools import cache
from typing import Any

import msgspec

from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Identity, Instance, Network, Spec
from tests.real.beside import ranges

_blocks = ranges("10.140.0.0", 256, 1024)  # of four networks, for one installation


@cache
def block_of(installation: str) -> list[ipaddress.IPv4Network]:
    """The ranges that an installation has: no other has them, of this worker or another."""
    return list(next(_blocks).subnets(new_prefix=26))


def a_network(installation: str, number: int, tenant: str | None = None) -> Network:
    """Each installation and number, up to 3, has a range of its own, in a part of the pool that nobody else here uses."""
    tenant = tenant or f"ten{number}"
    return Network(
        name=f"ah-tenant-{installation}-{tenant}",
        bridge=f"ah{installation[-8:]}{number}",
        subnet=str(block_of(installation)[number]),
        instance=installation,
        tenant=tenant,
    )


def a_spec(network: Network, service: str = "svc", **changes: Any) -> Spec:
    identity = Identity(network.instance, 1, network.tenant, service, "dep", 1, 1, 7, "hash", 1)
    env = {"PORT": "8000", "AH_SERVICE": service, "AH_DEPLOYMENT": "dep"}
    name = f"ah-{network.instance}-{network.tenant}-{service}-1-1"
    whole = Spec(name, identity, env, 8000, 128, 500, network)
    return msgspec.structs.replace(whole, **changes)


def never() -> bool:
    return False


def fetched(host: str, port: int, path: str) -> str:
    """What the app in a container answers, waiting up to 20 s until it listens."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"nothing answers on {host}:{port}")


async def ask(instance: Instance, path: str) -> str:
    return await asyncio.to_thread(fetched, instance.host, instance.port, path)


async def until_exited(engine: DockerEngine, instance_id: str) -> Instance:
    for _ in range(200):
        found = await engine.inspect(instance_id)
        assert found is not None
        if found.state == "exited":
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("it does not end")
