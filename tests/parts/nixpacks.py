"""Nixpacks, built from its crate; and a stand-in for the base image of what it plans, which is out of reach here.

The stand-in has the real one's name, as builds look it up by way of the registry's mirror: the interpreter is in it
already, and what would install it from Nix does nothing. The plan, the Dockerfile and the build are the real ones.
"""

import hashlib
from pathlib import Path

from tests.parts import docker, images, registry, versions
from tests.parts.cache import folder, write
from tests.parts.programs import PATH, PartFailed, find, run

SOURCE = Path(__file__).parent / "nixpacks_image"


def path() -> Path:
    """Where nixpacks is or will be."""
    return folder("nixpacks", versions.NIXPACKS) / "bin" / "nixpacks"


def missing() -> list[str]:
    """One line when nixpacks is not here, one when Cargo could not build it, and one for its base image."""
    lacks = [] if path().exists() else ["nixpacks: not built; `bin/parts` builds it, about 3 minutes"]
    if lacks and _cargo() is None:
        lacks.append("cargo: not on the PATH nor in ~/.cargo/bin; install Rust")
    if not _stamp().exists() or _stamp().read_text() != _fingerprint() or not _is_there():
        lacks.append("nixpacks' base image: not in the registry as the tree says; `bin/parts` makes it")
    return lacks


def put() -> str | None:
    """Builds nixpacks. Returns what was done, None when it was there. Raises PartFailed."""
    if path().exists():
        return None
    cargo = _cargo()
    if cargo is None:
        raise PartFailed("cargo is not on the PATH nor in ~/.cargo/bin: install Rust")
    root = path().parents[1]
    argv = ("install", "nixpacks", "--version", versions.NIXPACKS, "--locked", "--root", str(root))
    run(cargo, *argv, env={"PATH": f"{PATH}:{Path(cargo).parent}"})
    return "built"


def put_image() -> str | None:
    """Makes and pushes the base image; Docker and the registry have to run, the other images' base is needed."""
    if _stamp().exists() and _stamp().read_text() == _fingerprint() and _is_there():
        return None
    name = f"{registry.ADDRESS}/{versions.NIXPACKS_IMAGE}"
    base = images.base()
    docker.client("build", "--quiet", "--network=none", f"--build-arg=BASE={base}", f"--tag={name}", str(SOURCE))
    docker.client("push", "--quiet", name)
    write(_stamp(), _fingerprint())
    return "made and pushed"


def _cargo() -> str | None:
    own = Path.home() / ".cargo/bin/cargo"
    return find("cargo") or (str(own) if own.exists() else None)


def _is_there() -> bool:
    name, _, tag = versions.NIXPACKS_IMAGE.partition(":")
    repositories = folder("registry", "data") / "docker/registry/v2/repositories"
    return (repositories / name / "_manifests/tags" / tag / "current/link").exists()


def _stamp() -> Path:
    return folder("nixpacks") / "made"


def _fingerprint() -> str:
    text = versions.NIXPACKS_IMAGE + images.base_name() + (SOURCE / "Dockerfile").read_text()
    return hashlib.sha256(text.encode()).hexdigest()
