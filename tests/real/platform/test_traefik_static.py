"""The static configurations of `deploy/traefik`, as the real Traefik takes them at its start."""

import json
import socket
import ssl
from pathlib import Path

import pytest

from ahplat.routers.choice import RESOLVER
from ahplat.routers.dynamic import Entry, written
from ahplat.routers.router import Route
from tests.parts.parts import Parts
from tests.real.platform.router import DEPLOY, Traefik
from tests.real.platform.router_container import STATIC
from tests.real.platform.server import eventually

pytestmark = pytest.mark.real


@pytest.mark.parametrize("static", sorted(path.name for path in DEPLOY.glob("*.yml") if path != STATIC))
def test_traefik_starts_with_it_and_its_api_is_on_loopback_only(running: Parts, tmp_path: Path, static: str) -> None:
    traefik = Traefik(tmp_path, static).start()
    try:
        listens = {one["name"]: one["address"] for one in traefik.ask("/api/entrypoints")}
        assert listens["traefik"] == f"127.0.0.1:{traefik.api}"
        assert '"127.0.0.1:8099"' in (DEPLOY / static).read_text()
    finally:
        traefik.end()
    said = [line for line in traefik.log.read_text().splitlines() if "context canceled" not in line]  # by its end
    assert not [line for line in said if "ERR" in line]


def test_the_resolver_of_certificates_is_the_one_that_routers_name(running: Parts, tmp_path: Path) -> None:
    """Traefik checks both at its start, and says of a router whose resolver it does not have that it has none."""
    traefik = Traefik(tmp_path, "traefik.yml")
    route = Route("01a2", ("web.acme.apps.example.org",), ("127.0.0.1:9",))
    for name, resolver in (("ah-01a2", RESOLVER), ("ah-other", "nobodys")):
        data = written(
            Route(name[3:], (f"{resolver}.example.org",) if name == "ah-other" else route.hosts),
            Entry("websecure", resolver),
        )
        (traefik.config_dir / f"{name}.yml").write_bytes(data)
    traefik.start()
    try:
        router = eventually(lambda: traefik.ask("/api/http/routers/ah-01a2@file"))
        assert (router["status"], router["tls"]["certResolver"]) == ("enabled", RESOLVER)
        assert router["entryPoints"] == ["websecure"]
        eventually(lambda: "nobodys" in traefik.log.read_text())
        assert (tmp_path / "acme.json").stat().st_mode & 0o777 == 0o600
        answer = traefik.get("web.acme.apps.example.org")
        assert answer.status in (301, 308) and answer.headers["location"].startswith("https://")
        with (
            socket.create_connection(("127.0.0.1", traefik.secure), timeout=10) as plain,
            _trusting().wrap_socket(plain, server_hostname="web.acme.apps.example.org") as secure,
        ):
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
    finally:
        traefik.end()
    said = [line for line in traefik.log.read_text().splitlines() if "nonexistent certificate resolver" in line]
    assert said and all("nobodys" in line for line in said), json.dumps(said)


def _trusting() -> ssl.SSLContext:
    """Takes any certificate: issuing real ones needs a public name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
