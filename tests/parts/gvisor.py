"""gVisor's runsc, built from its Go module: without cgo, for a sandbox that is linked dynamically cannot start."""

from pathlib import Path

from tests.parts import go, versions
from tests.parts.cache import folder


def path() -> Path:
    """Where runsc is or will be; the folder carries its version, so that a new pin is a new binary."""
    return folder("gvisor", versions.GVISOR.rpartition("@")[2]) / "runsc"


def missing() -> list[str]:
    """One line when runsc is not here, and one when Go could not build it."""
    if path().exists():
        return []
    return ["runsc: not built; `bin/parts` builds it", *go.lacks()]


def put() -> str | None:
    """Builds runsc. Returns what was done, None when it was there. Raises PartFailed."""
    if path().exists():
        return None
    go.install(versions.GVISOR, path())
    return "built"
