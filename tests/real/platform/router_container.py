"""A Traefik in a container of its own, as a test's router: its image, its own network, its ports on loopback."""

import io
import secrets
import tarfile

import docker
from docker.errors import ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool

from tests.parts import docker as part
from tests.parts import traefik, versions
from tests.real.platform.router import free_port
from tests.real.platform.server import Answer, eventually, fetch

SOCKET = part.HOST.removeprefix("unix://")


def image(sdk: docker.DockerClient) -> str:
    """Traefik's binary and nothing else; made where it is not there yet."""
    name = f"parts-traefik:{versions.TRAEFIK.rpartition('@')[2]}"
    try:
        sdk.images.get(name)
    except ImageNotFound:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(traefik.path(), "traefik")
        repository, _, tag = name.partition(":")
        sdk.api.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)
    return name


class RouterInContainer:
    """`start` makes it anew each time, under the same name: another id, in none of the tenants' networks."""

    def __init__(self, sdk: docker.DockerClient) -> None:
        self.sdk = sdk
        self.name = f"traefik-{secrets.token_hex(4)}"
        self.web, self.api = free_port(), free_port()
        part_of_it = secrets.randbelow(250)
        self.address = f"10.124.{part_of_it}.2"
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=f"10.124.{part_of_it}.0/28")])
        self.home = sdk.networks.create(self.name, ipam=pool)

    @property
    def options(self) -> tuple[str, ...]:
        """What a server is started with."""
        api = f"http://127.0.0.1:{self.api}"
        return (
            *("--router", "labels", "--router-container", self.name),
            *("--traefik-api", api, "--public-port", str(self.web)),
        )

    def start(self, api_on: str | None = None) -> "RouterInContainer":
        """Its API listens on its address in its own network, unless a test has it elsewhere."""
        self.end()
        argv = [
            "/traefik",
            "--entrypoints.web.address=:80",
            f"--entrypoints.traefik.address={self.address if api_on is None else api_on}:8099",
            "--api.insecure=true",
            "--api.dashboard=false",
            "--providers.docker.exposedbydefault=false",
            "--providers.providersthrottleduration=50ms",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ]
        made = self.sdk.containers.create(
            image(self.sdk),
            argv,
            name=self.name,
            runtime="runc",
            network=self.name,
            networking_config={self.name: EndpointConfig("1.41", ipv4_address=self.address)},
            ports={"80/tcp": ("127.0.0.1", self.web), "8099/tcp": ("127.0.0.1", self.api)},
            volumes={SOCKET: {"bind": "/var/run/docker.sock", "mode": "ro"}},
            sysctls={"net.ipv4.ip_forward": "0"},
        )
        made.start()
        eventually(self._answers)
        return self

    def _answers(self) -> bool:
        try:
            return fetch("127.0.0.1", self.api, "GET", "/api/version", timeout_s=2).status == 200
        except OSError:
            return False

    @property
    def container(self) -> Container:
        """As it is now."""
        return self.sdk.containers.get(self.name)

    @property
    def networks(self) -> dict[str, str]:
        """Those that it is in, besides its own → its address there."""
        found = self.container.attrs["NetworkSettings"]["Networks"]
        return {name: one["IPAddress"] for name, one in found.items() if name != self.name}

    def get(self, host: str) -> Answer | None:
        """One request through it; None where it does not answer at all."""
        try:
            return fetch("127.0.0.1", self.web, "GET", "/", timeout_s=5, Host=host)
        except OSError:
            return None

    def end(self) -> None:
        """The container goes; its network stays for the next one."""
        try:
            self.container.remove(force=True)
        except NotFound:
            return

    def close(self) -> None:
        """Nothing is left."""
        self.end()
        self.home.remove()
