"""Litestream, built from its Go module: what `deploy/litestream.yml` is written for, and is tried with."""

from pathlib import Path

from tests.parts import go, versions
from tests.parts.cache import folder


def path() -> Path:
    """Where litestream is or will be; the folder carries its version."""
    return folder("litestream", versions.LITESTREAM.rpartition("@")[2]) / "litestream"


def missing() -> list[str]:
    """One line when Litestream is not here, and one when Go could not build it."""
    if path().exists():
        return []
    return ["litestream: not built; `bin/parts` builds it, about 2 minutes", *go.lacks()]


def put() -> str | None:
    """Builds Litestream. Returns what was done, None when it was there. Raises PartFailed."""
    if path().exists():
        return None
    go.install(versions.LITESTREAM, path())
    return "built"
