"""What an instance carries for a Traefik that reads labels, to the exact argument."""

from ahplat.routers.dynamic import Entry
from ahplat.routers.labels import LabelsRouter
from ahplat.routers.router import Route
from ahplat.routers.traefik import TraefikApi

ROUTE = Route("01a2", ("web.acme.localhost",))


def labels(entry: Entry, route: Route = ROUTE, port: int = 8000) -> dict[str, str]:
    return LabelsRouter(TraefikApi("http://127.0.0.1:1"), entry).labels(route, port, "ah-tenant-t")


def test_an_instance_carries_exactly_these() -> None:
    assert labels(Entry()) == {
        "traefik.enable": "true",
        "traefik.docker.network": "ah-tenant-t",
        "traefik.http.routers.ah-01a2-b79c964b.rule": "Host(`web.acme.localhost`)",
        "traefik.http.routers.ah-01a2-b79c964b.entrypoints": "web",
        "traefik.http.routers.ah-01a2-b79c964b.service": "ah-01a2",
        "traefik.http.services.ah-01a2.loadbalancer.server.port": "8000",
    }


def test_with_certificates_it_names_who_gets_them() -> None:
    found = labels(Entry("websecure", "ah"))
    assert [value for name, value in found.items() if name.endswith("tls.certresolver")] == ["ah"]


def test_two_deployments_with_other_names_have_routers_of_their_own_and_one_service() -> None:
    """Traefik would drop a router that two containers say different things of."""
    more = labels(Entry(), Route("01a2", (*ROUTE.hosts, "www.shop.example")))
    rules = {name for name in (labels(Entry()) | more) if name.endswith(".rule")}
    assert len(rules) == 2
    assert "traefik.http.services.ah-01a2.loadbalancer.server.port" in more


def test_a_worker_carries_none() -> None:
    assert labels(Entry(), port=0) == {}
