"""The images of the tests, made here from Debian's packages and pushed to the local registry.

One base layer (Debian's smallest with all of Python) under stages of one Dockerfile. They are made again when that
file, the app in it, the base or the table of images changed.
"""

import hashlib
import json
import shutil
from pathlib import Path

from tests.parts import docker, registry, versions
from tests.parts.cache import folder, write
from tests.parts.programs import run

SOURCE = Path(__file__).parent / "image"
PACKAGES = "python3"  # python3-minimal has no http.server
LEFT_OUT = (
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
)


def missing() -> list[str]:
    """One line when images are not in the registry, or are not what the tree says any more."""
    lacking = [image for image in versions.IMAGES if not registry.holds(image)]
    if lacking:
        return [f"images: {', '.join(lacking)} not in the registry; `bin/parts` makes them"]
    if not _stamp().exists() or _stamp().read_text() != _fingerprint():
        return ["images: older than tests/parts/image; `bin/parts` makes them again"]
    return []


def put() -> str | None:
    """Makes and pushes all images; Docker and the registry have to run. Returns what was done, None when all were there."""
    if not missing():
        return None
    made_from = base()
    for image, (stage, arguments) in versions.IMAGES.items():
        pushed = f"{registry.ADDRESS}/library/{image}"
        given = [f"--build-arg={name}={value}" for name, value in {"BASE": made_from, **arguments}.items()]
        docker.client("build", "--quiet", "--network=none", f"--target={stage}", f"--tag={pushed}", *given, str(SOURCE))
        docker.client("push", "--quiet", pushed)
    write(_stamp(), _fingerprint())
    return f"{len(versions.IMAGES)} made and pushed"


def base() -> str:
    """The base image in our engine, imported where it is not there yet."""
    name = f"parts-base:{base_name()}"
    if not docker.client("image", "ls", "--quiet", name).strip():
        docker.client("import", str(tarball()), name)
    return name


def tarball() -> Path:
    """The files of the base image: kept, since making them takes longest."""
    made = folder("images") / f"{base_name()}.tar"
    if made.exists():
        return made
    for old in folder("images").glob("*.tar"):
        old.unlink()
    root, half = folder("images") / "root", made.with_suffix(".half")
    shutil.rmtree(root, ignore_errors=True)
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", versions.SUITE, str(root))
    left_out = [f"--exclude=./{pattern}" for pattern in LEFT_OUT]
    run("tar", "--numeric-owner", *left_out, "-C", str(root), "-cf", str(half), ".")
    shutil.rmtree(root)
    return half.rename(made)


def base_name() -> str:
    """Of what the base is made from."""
    return f"{versions.SUITE}-{hashlib.sha256(repr((PACKAGES, LEFT_OUT)).encode()).hexdigest()[:12]}"


def _stamp() -> Path:
    return folder("images") / "made"


def _fingerprint() -> str:
    """Of all that the images are made from."""
    sources = "".join(path.read_text() for path in sorted(SOURCE.iterdir()))
    text = json.dumps([versions.SUITE, PACKAGES, LEFT_OUT, versions.IMAGES, sources])
    return hashlib.sha256(text.encode()).hexdigest()
