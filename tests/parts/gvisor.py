"""gVisor's runsc, built from its Go module: without cgo, for a sandbox that is linked dynamically cannot start."""

import re
from pathlib import Path

from tests.parts import versions
from tests.parts.cache import folder
from tests.parts.programs import PartFailed, find, run


def path() -> Path:
    """Where runsc is or will be; the folder carries its version, so that a new pin is a new binary."""
    return folder("gvisor", versions.GVISOR.rpartition("@")[2]) / "runsc"


def missing() -> list[str]:
    """One line when runsc is not here, and one when Go could not build it."""
    if path().exists():
        return []
    return ["runsc: not built; `bin/parts` builds it", *_go_lacks()]


def put() -> str | None:
    """Builds runsc. Returns what was done, None when it was there. Raises PartFailed."""
    if path().exists():
        return None
    for lack in _go_lacks():
        raise PartFailed(lack)
    built = folder("gvisor", "building")
    run(find("go") or "go", "install", versions.GVISOR, env={"CGO_ENABLED": "0", "GOBIN": str(built)})
    (built / "runsc").rename(path())
    return "built"


def _go_lacks() -> list[str]:
    wanted = ".".join(map(str, versions.GO))
    go = find("go")
    if go is None:
        return [f"go: not on the PATH nor in /usr/local/go/bin; install Go {wanted} or newer (apt's golang is too old)"]
    found = re.search(r"go(\d+)\.(\d+)", run(go, "env", "GOVERSION"))
    if found is None or (int(found[1]), int(found[2])) < versions.GO:
        return [
            f"go: {found[0] if found else 'unknown'} is too old; install Go {wanted} or newer (apt's golang is too old)"
        ]
    return []
