"""Traefik told by labels: services answer, tenants are apart, and what a switch loses is said and not promised."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import docker
import pytest

from tests.real.platform.asking import asking, image_of
from tests.real.platform.conftest import MakeServer
from tests.real.platform.router import Traefik
from tests.real.platform.server import OPEN, Server, Tenant, eventually

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def traefik(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traefik]:
    made = Traefik(tmp_path_factory.mktemp("traefik"), "traefik-labels.yml").start()
    yield made
    made.end()
    print(made.log.read_text()[-5000:])


@pytest.fixture(scope="module")
def server(make_server: MakeServer, traefik: Traefik) -> Server:
    return make_server(*OPEN, *traefik.label_options, "--deploy-timeout-s", "20").start()


def test_a_container_says_by_its_labels_where_its_service_answers(
    tenant: Tenant, traefik: Traefik, sdk: docker.DockerClient
) -> None:
    service = tenant.run("web")
    host = urlsplit(service.now["url"]).netloc
    eventually(lambda: traefik.get(host).text.startswith("hello 1"))
    labels = service.container(sdk).labels
    assert labels["traefik.docker.network"] == f"ah-tenant-{tenant.id}"
    assert {name for name in labels if not name.startswith(("traefik.", "ah."))} == set()
    assert labels["ah.service"] == service.id
    detailed = tenant.call("GET", "/v1/system/health/detailed")["router"]
    assert (detailed["name"], detailed["available"]) == ("labels", True)


@pytest.mark.long
async def test_what_switches_lose_is_measured(tenant: Tenant, traefik: Traefik, sdk: docker.DockerClient) -> None:
    images = [await asyncio.to_thread(image_of, sdk, tenant, version) for version in ("1", "2")]
    service = await asyncio.to_thread(tenant.run, "web", images[0])
    host = urlsplit(service.now["url"]).netloc
    await asyncio.to_thread(eventually, lambda: traefik.get(host).status == 200)
    async with asking(traefik.web, host, per_s=12) as answers:
        for number in range(4):
            deployment = await asyncio.to_thread(service.deploy, images[1 - number % 2])
            await asyncio.to_thread(deployment.until, "running")
            await asyncio.to_thread(service.settled)
        await asyncio.sleep(1)
    gone = len(answers.lost)
    print(f"labels: 4 deploys, {answers.total()} requests, {gone} lost: {answers.lost}")
    assert answers.total() - gone > 100
    assert traefik.get(host).text == "echo 1"
