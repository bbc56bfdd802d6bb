"""A Traefik in a container of its own, made by the commands of `deploy/traefik/traefik-container.yml`."""

import secrets
import shlex
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from tests.parts import docker as part
from tests.parts import traefik
from tests.real.platform.router import DEPLOY, free_port
from tests.real.platform.server import Answer, eventually, fetch

STATIC = DEPLOY / "traefik-container.yml"
API = 8099  # in the container


def documented() -> list[list[str]]:
    """The commands at the file's top that make the network, and make and start the container: their arguments."""
    comment = "\n".join(line.removeprefix("#") for line in STATIC.read_text().splitlines() if line.startswith("#"))
    commands = [
        shlex.split(line) for line in comment.replace("\\\n", " ").splitlines() if line.startswith("   docker ")
    ]
    assert [command[:2] for command in commands] == [["docker", "network"], ["docker", "create"], ["docker", "start"]]
    return [command[1:] for command in commands]


class RouterInContainer:
    """`start` makes it anew each time, under the same name: another id, in none of the tenants' networks.

    What differs from the documented commands are names, ports and addresses, which other runs have too, and the image:
    the one of a service, for there is none of Traefik here, with the program that the other tests have.
    """

    def __init__(self, sdk: docker.DockerClient, folder: Path) -> None:
        self.sdk = sdk
        self.name = f"traefik-{secrets.token_hex(4)}"
        self.web, self.api = free_port(), free_port()
        subnet = f"10.124.{secrets.randbelow(250) + 1}"
        self.address = f"{subnet}.2"
        static = folder / STATIC.name
        static.write_text(STATIC.read_text().replace("10.124.0.2:", f"{self.address}:"))
        program = ["--user", "0", "--entrypoint", "/traefik", "-v", f"{traefik.path()}:/traefik:ro", "hello:1"]
        ours = {
            "ah-router": [self.name],
            "10.124.0.0/28": [f"{subnet}.0/28"],
            "traefik": [self.name],
            "10.124.0.2": [self.address],
            "80:80": [f"127.0.0.1:{self.web}:80"],
            "127.0.0.1:8099:8099": [f"127.0.0.1:{self.api}:{API}"],
            "/etc/traefik/traefik-container.yml:/etc/traefik/traefik.yml:ro": [f"{static}:/etc/traefik/traefik.yml:ro"],
            "/var/run/docker.sock:/var/run/docker.sock:ro": [f"{part.SOCKET}:/var/run/docker.sock:ro"],
            "traefik:v3.6": program,
        }
        made, self._create, self._start = (
            [word for each in command for word in ours.get(each, [each])] for command in documented()
        )
        part.client(*made)

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
        part.client(*self._create)
        part.client(*self._start)
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
        self.sdk.networks.get(self.name).remove()
