"""All parts together: what is missing, put them here, start them, end them.

from tests.parts import parts

parts.missing()  -> ["runsc: not built; `bin/parts` builds it", …]; asks only, takes milliseconds
parts.up()       -> Parts(docker_host="unix:///run/…", …); starts what does not run, installs nothing
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.parts import (
    buildkit,
    database_images,
    docker,
    gvisor,
    images,
    litestream,
    nixpacks,
    packages,
    registry,
    traefik,
    versions,
)
from tests.parts.cache import locked
from tests.parts.programs import PartFailed


@dataclass(frozen=True)
class Parts:
    """Where the running parts are."""

    docker_host: str  # unix://…
    docker_socket: Path
    docker_client: Path  # the one that can build on this engine
    runsc: Path
    traefik: Path
    promtool: Path
    prometheus: Path
    builders: tuple[Path, ...]  # folders of buildkitd, buildctl, nixpacks and runsc, for a server's PATH
    registry: str  # host:port
    images: tuple[str, ...]  # name:tag, as they are pulled


def missing() -> list[str]:
    """What is not here, one line each with its remedy. Looks only: nothing is installed or started."""
    lacks = [] if os.geteuid() == 0 else ["root: Docker and debootstrap need it; run as root"]
    part: ModuleType
    for part in (packages, docker, gvisor, traefik, litestream, buildkit, images, nixpacks, database_images):
        lacks += part.missing()
    return lacks


def up() -> Parts:
    """Starts the registry and Docker where they do not run. Raises PartFailed, also when a part is missing."""
    lacks = missing()
    if lacks:
        raise PartFailed("; ".join(lacks))
    with locked():
        registry.start()
        docker.start()
    return Parts(
        docker_host=docker.HOST,
        docker_socket=docker.SOCKET,
        docker_client=Path(docker.client_path()),
        runsc=gvisor.path(),
        traefik=traefik.path(),
        promtool=Path(packages.unpacked("promtool") or "promtool"),
        prometheus=Path(packages.unpacked("prometheus") or "prometheus"),
        builders=(buildkit.path(), nixpacks.path().parent, gvisor.path().parent),
        registry=registry.ADDRESS,
        images=tuple(versions.IMAGES),
    )


def put(report: Callable[[str, Callable[[], str | None]], None]) -> None:
    """Puts every part here and starts them; `report` is handed each step with its name and runs it."""
    if os.geteuid() != 0:
        raise PartFailed("Docker and debootstrap need root: run bin/parts as root")
    with locked():
        report("packages", packages.put)
        report("gvisor", gvisor.put)
        report("traefik", traefik.put)
        report("litestream", litestream.put)
        report("buildkit", buildkit.put)
        report("nixpacks", nixpacks.put)
        report("registry", lambda: "started" if registry.start() else None)
        report("docker", lambda: "started" if docker.start() else None)
        report("images", images.put)
        report("nixpacks", nixpacks.put_image)
        report("databases", database_images.put)


def down(report: Callable[[str, Callable[[], str | None]], None]) -> None:
    """Ends both daemons, and with Docker its containers; nothing that somebody else started."""
    with locked():
        report("docker", lambda: "stopped" if docker.stop() else "did not run")
        report("registry", lambda: "stopped" if registry.stop() else "did not run")
