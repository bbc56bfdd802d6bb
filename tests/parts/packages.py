"""The parts that come as packages of the distribution, through apt as this machine has it set up.

What is on the machine already, from wherever, is left as it is; only what is missing is installed.
"""

from pathlib import Path

from tests.parts import versions
from tests.parts.cache import folder
from tests.parts.programs import PartFailed, find, run


def missing() -> list[str]:
    """One line for each package that is not here, or not whole."""
    return [f"{name}: not on this machine; `bin/parts` installs it" for name in _absent()]


def put() -> str | None:
    """Installs what is missing. Returns what was done, None when all was there. Raises PartFailed."""
    names = _absent()
    if not names:
        return None
    install = [name for name in names if name not in versions.UNPACKED]
    if install:
        _apt("install", "-y", "--no-install-recommends", *install)
    for name in versions.UNPACKED.keys() & names:
        _unpack(name)
    if _absent():
        raise PartFailed(f"{', '.join(_absent())} still missing after {', '.join(names)} were installed")
    return f"{' '.join(names)} installed"


def unpacked(program: str) -> str | None:
    """Where a program is whose package is only unpacked, None when it is not here."""
    own = _unpacked() / "usr/bin" / program
    return str(own) if own.exists() else find(program)


def _absent() -> list[str]:
    names = {package for program, package in versions.PROGRAMS.items() if find(program) is None}
    if not Path("/usr/share/keyrings", f"{versions.KEYRING}.gpg").exists():
        names.add(versions.KEYRING)
    package, brings = versions.PLUGINS
    if not Path(brings).exists():
        names.add(package)
    names.update(package for package, program in versions.UNPACKED.items() if unpacked(program) is None)
    return sorted(names)


def _unpack(name: str) -> None:
    into = _unpacked()
    for old in into.glob("*.deb"):
        old.unlink()
    _apt("download", name, cwd=into)
    (package,) = into.glob("*.deb")
    run("dpkg-deb", "-x", str(package), str(into))


def _unpacked() -> Path:
    return folder("packages")


def _apt(*argv: str, cwd: Path | None = None) -> None:
    """With an update where there are no lists, or where they are too old to install from."""
    if find("apt-get") is None:
        raise PartFailed(f"apt-get is not here: install {argv[-1]} by the means of this distribution")
    try:
        run("apt-get", "-q", *argv, cwd=cwd, env={"DEBIAN_FRONTEND": "noninteractive"})
    except PartFailed:
        run("apt-get", "-q", "update")
        run("apt-get", "-q", *argv, cwd=cwd, env={"DEBIAN_FRONTEND": "noninteractive"})
