"""Traefik, built from its Go module: the router of the tests is the real one."""

from pathlib import Path

from tests.parts import go, versions
from tests.parts.cache import folder


def path() -> Path:
    """Where traefik is or will be; the folder carries its version, so that a new pin is a new binary."""
    return folder("traefik", versions.TRAEFIK.rpartition("@")[2]) / "traefik"


def missing() -> list[str]:
    """One line when Traefik is not here, and one when Go could not build it."""
    if path().exists():
        return []
    return ["traefik: not built; `bin/parts` builds it, about 6 minutes", *go.lacks()]


def put() -> str | None:
    """Builds Traefik. Returns what was done, None when it was there. Raises PartFailed."""
    if path().exists():
        return None
    go.build(versions.TRAEFIK, {"./cmd/traefik": path()})
    return "built"
