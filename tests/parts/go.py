"""Go programs, built from their modules by the Go of this machine: statically, for that runs everywhere.

A module is built as its own main module, from a writable copy of what the Go proxy gives: so its `replace` and `exclude`
lines and its go.sum hold, and what is built is what its authors build.
"""

import json
import re
import shutil
from pathlib import Path

from tests.parts import versions
from tests.parts.cache import folder
from tests.parts.programs import PartFailed, find, run


def lacks() -> list[str]:
    """One line when Go could not build: it is not here, or too old."""
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


def install(package: str, into: Path) -> None:
    """`go install PACKAGE@VERSION`, for packages whose module has no `replace` lines. Raises PartFailed."""
    building = folder("go", into.name)
    run(_go(), "install", package, env={"CGO_ENABLED": "0", "GOBIN": str(building)})
    (building / into.name).rename(into)


def build(module: str, programs: dict[str, Path]) -> None:
    """Builds programs of `module` (path@version): folder in the module → where the program goes. Raises PartFailed."""
    go = _go()
    source = folder("go", "source") / module.replace("/", "_")
    shutil.rmtree(source, ignore_errors=True)
    downloaded = json.loads(run(go, "mod", "download", "-json", module))["Dir"]
    run("cp", "-r", "--no-preserve=mode", downloaded, str(source))
    for package, into in programs.items():
        half = source / f"{into.name}.built"
        run(go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(half), package, cwd=source, env={"CGO_ENABLED": "0"})
        half.rename(into)
    shutil.rmtree(source)


def _go() -> str:
    for lack in lacks():
        raise PartFailed(lack)
    return find("go") or "go"
