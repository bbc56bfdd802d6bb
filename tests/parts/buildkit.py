"""BuildKit, built from its Go module, and the network plugins that its steps want, from the distribution."""

from pathlib import Path

from tests.parts import go, versions
from tests.parts.cache import folder


def path() -> Path:
    """The folder of buildkitd and buildctl; it carries their version, so that a new pin is new binaries."""
    return folder("buildkit", versions.BUILDKIT.rpartition("@")[2])


def missing() -> list[str]:
    """One line when BuildKit is not here, and one when Go could not build it."""
    if all((path() / name).exists() for name in ("buildkitd", "buildctl")):
        return []
    return ["buildkit: not built; `bin/parts` builds it, about 2 minutes", *go.lacks()]


def put() -> str | None:
    """Builds both programs. Returns what was done, None when they were there. Raises PartFailed."""
    if not missing():
        return None
    go.build(versions.BUILDKIT, {f"./cmd/{name}": path() / name for name in ("buildkitd", "buildctl")})
    return "built"
