"""Which engine runs services here: the one that was asked for, or the best that the machine has."""

import logging

from ahplat.config import Config
from ahplat.engines.engine import Engine
from ahplat.errors import CannotStart

logger = logging.getLogger("ahplat.engines")

_REMEDY = "install Docker and gVisor (README, Operating it), or try ah without them: ah --dev --engine embedded"


async def choose_engine(config: Config, installation: str) -> Engine:
    """Docker where it answers and has runsc; with `--dev` else embedded. Raises CannotStart with the remedy."""
    if config.engine == "embedded":
        if not config.dev:
            raise CannotStart("the embedded engine isolates nothing: it runs with --dev only")
        return _embedded(config, installation)
    from ahplat.engines.docker import DockerEngine  # the SDK costs memory, so only who runs it pays

    docker = DockerEngine(
        installation, config.data_dir, base_url=config.docker_host or None, router=config.router_container
    )
    status = await docker.status()
    if status.available and status.runtime:
        return docker
    missing = status.detail or "Docker has no runtime runsc"
    if config.engine == "docker" and config.dev and status.available:
        logger.warning("%s: services cannot start until it is there", missing)
        return docker
    await docker.close()
    if config.engine == "auto" and config.dev:
        logger.info("embedded engine: %s", missing)
        return _embedded(config, installation)
    raise CannotStart(f"{missing}: {_REMEDY}")


def _embedded(config: Config, installation: str) -> Engine:
    from ahplat.engines.embedded import EmbeddedEngine

    return EmbeddedEngine(installation, config.data_dir)
