"""Stand-ins for the images of databases, `postgres:16-alpine` and `redis:7-alpine`, made like the others.

Their base (Debian's smallest with both servers) is their own, so that the small images do not grow, and so is the stamp
that says of what they were made.
"""

import hashlib
import json
import shutil
from pathlib import Path

from tests.parts import docker, registry, versions
from tests.parts.cache import folder, write
from tests.parts.images import LEFT_OUT
from tests.parts.programs import run

SOURCE = Path(__file__).parent / "database_image"
PACKAGES = "postgresql,redis-server"
CLUSTER = "var/lib/postgresql/*"  # that the package makes when it is installed


def missing() -> list[str]:
    """One line when images are not in the registry, or are not what the tree says any more."""
    lacking = [image for image in versions.DATABASE_IMAGES if not registry.holds(image)]
    if lacking:
        return [f"database images: {', '.join(lacking)} not in the registry; `bin/parts` makes them"]
    if not _stamp().exists() or _stamp().read_text() != _fingerprint():
        return ["database images: older than tests/parts/database_image; `bin/parts` makes them again"]
    return []


def put() -> str | None:
    """Makes and pushes them; Docker and the registry have to run. Returns what was done, None when all were there."""
    if not missing():
        return None
    base = _base()
    for image, stage in versions.DATABASE_IMAGES.items():
        pushed = f"{registry.ADDRESS}/library/{image}"
        given = (f"--build-arg=BASE={base}", f"--target={stage}", f"--tag={pushed}")
        docker.client("build", "--quiet", "--network=none", *given, str(SOURCE))
        docker.client("push", "--quiet", pushed)
    write(_stamp(), _fingerprint())
    return f"{len(versions.DATABASE_IMAGES)} made and pushed"


def _base() -> str:
    """The base image in our engine, imported where it is not there yet."""
    name = f"parts-database-base:{_tarball_name()}"
    if not docker.client("image", "ls", "--quiet", name).strip():
        docker.client("import", str(_tarball()), name)
    return name


def _tarball() -> Path:
    """The files of the base image: kept, since making them takes longest."""
    made = folder("database-images") / f"{_tarball_name()}.tar"
    if made.exists():
        return made
    for old in folder("database-images").glob("*.tar"):
        old.unlink()
    root, half = folder("database-images") / "root", made.with_suffix(".half")
    shutil.rmtree(root, ignore_errors=True)
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", versions.SUITE, str(root))
    left_out = [f"--exclude=./{pattern}" for pattern in (*LEFT_OUT, CLUSTER)]
    run("tar", "--numeric-owner", *left_out, "-C", str(root), "-cf", str(half), ".")
    shutil.rmtree(root)
    return half.rename(made)


def _tarball_name() -> str:
    return f"{versions.SUITE}-{hashlib.sha256(repr((PACKAGES, LEFT_OUT, CLUSTER)).encode()).hexdigest()[:12]}"


def _stamp() -> Path:
    return folder("database-images") / "made"


def _fingerprint() -> str:
    """Of all that the images are made from."""
    sources = "".join(path.read_text() for path in sorted(SOURCE.iterdir()))
    text = json.dumps([versions.SUITE, PACKAGES, LEFT_OUT, CLUSTER, versions.DATABASE_IMAGES, sources])
    return hashlib.sha256(text.encode()).hexdigest()
