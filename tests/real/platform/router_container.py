"""A Traefik in a container of its own, made as `deploy/traefik/traefik-container.yml` says: own name, network and ports."""

import secrets
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool

from tests.parts import docker as part
from tests.parts import traefik
from tests.real.platform.router import DEPLOY, free_port
from tests.real.platform.server import Answer, eventually, fetch

STATIC = "traefik-container.yml"
SOCKET = part.HOST.removeprefix("unix://")
API = 8099  # in the container


class RouterInContainer:
    """`start` makes it anew each time, under the same name: another id, in none of the tenants' networks."""

    def __init__(self, sdk: docker.DockerClient, folder: Path) -> None:
        self.sdk = sdk
        self.name = f"traefik-{secrets.token_hex(4)}"
        self.web, self.api = free_port(), free_port()
        subnet = f"10.124.{secrets.randbelow(250) + 1}"  # of 10.124.0.0 as documented, and beside other runs
        self.address = f"{subnet}.2"
        self.static = folder / STATIC
        self.static.write_text((DEPLOY / STATIC).read_text().replace("10.124.0.2:", f"{self.address}:"))
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=f"{subnet}.0/28")])
        self.home = sdk.networks.create(self.name, ipam=pool)

    @property
    def options(self) -> tuple[str, ...]:
        """What a server is started with."""
        api = f"http://127.0.0.1:{self.api}"
        return (
            *("--router", "labels", "--router-container", self.name),
            *("--traefik-api", api, "--public-port", str(self.web)),
        )

    def start(self) -> "RouterInContainer":
        """Returns once its API answers."""
        self.end()
        self.sdk.images.pull("hello:1")  # any image: the program is the host's
        made = self.sdk.containers.create(
            "hello:1",
            ["--configfile=/etc/traefik/traefik.yml"],
            entrypoint=["/traefik"],
            name=self.name,
            user="0",  # as the image of Traefik has it
            runtime="runc",
            sysctls={"net.ipv4.ip_forward": "0"},
            network=self.name,
            networking_config={self.name: EndpointConfig("1.41", ipv4_address=self.address)},
            ports={"80/tcp": ("127.0.0.1", self.web), f"{API}/tcp": ("127.0.0.1", self.api)},
            volumes={
                str(self.static): {"bind": "/etc/traefik/traefik.yml", "mode": "ro"},
                SOCKET: {"bind": "/var/run/docker.sock", "mode": "ro"},
                str(traefik.path()): {"bind": "/traefik", "mode": "ro"},
            },
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
    def addresses(self) -> dict[str, str]:
        """The networks that it is in besides its own → its address there."""
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
