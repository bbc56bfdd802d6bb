"""The command line of `bin/lock`: writes requirements.lock and requirements-dev.lock anew from pyproject.toml.

Stdlib only, and with no virtual environment of the project, which is made from what this writes. Invariant: a lock file
pins every package with its hashes, for every platform and Python that we allow, and holds no address of an index;
whatever requirements.lock pins, requirements-dev.lock pins the same, so one environment serves both.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
RUN, DEVELOP = TREE / "requirements.lock", TREE / "requirements-dev.lock"
UV = "uv==0.13.9"
COMPILE = [
    *("pip", "compile", "pyproject.toml", "--quiet"),
    *("--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-annotate", "--no-header"),
]
STEP_TIMEOUT_S = 600
TEACHES = f"""\
Writes requirements.lock and requirements-dev.lock anew from pyproject.toml, with {UV} in a folder of its own.

  bin/lock                   what is pinned stays as it is, where pyproject.toml still allows it
  bin/lock --upgrade         the newest of everything
  bin/lock --upgrade aiohttp click
                             the newest of these
"""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        "bin/lock", description=TEACHES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upgrade", nargs="*", metavar="PACKAGE", help="take newer versions, of all or of these")
    upgrade: list[str] | None = parser.parse_args().upgrade
    newer = [] if upgrade is None else [f"--upgrade-package={name}" for name in upgrade] or ["--upgrade"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            uv = get_uv(Path(folder))
            run([uv, *COMPILE, *newer, "--output-file", RUN.name])
            run([uv, *COMPILE, *newer, "--group", "dev", "--constraint", RUN.name, "--output-file", DEVELOP.name])
    except subprocess.CalledProcessError as error:
        print(
            f"bin/lock: `{' '.join(error.cmd[1:4])} …` failed with code {error.returncode}, see above", file=sys.stderr
        )
        return 1
    wrong = faults(RUN.read_text(), DEVELOP.read_text())
    print(
        "\n".join(wrong) or f"{len(pins(RUN.read_text()))} packages to run, {len(pins(DEVELOP.read_text()))} to develop"
    )
    return 1 if wrong else 0


def get_uv(folder: Path) -> str:
    """Installs uv into a folder; its path."""
    run([sys.executable, "-m", "venv", str(folder)])
    run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV])
    return str(folder / "bin/uv")


def run(argv: list[str]) -> None:
    """Runs a program in the tree to its end. Raises CalledProcessError."""
    subprocess.run(argv, cwd=TREE, check=True, timeout=STEP_TIMEOUT_S)


def faults(run_lock: str, develop_lock: str) -> list[str]:
    """What is wrong with the two texts, one line each."""
    wrong = []
    for which, text in (("first", run_lock), ("second", develop_lock)):
        lines = text.splitlines()
        wrong += [f"line {n} of the {which} holds an address" for n, line in enumerate(lines, 1) if "://" in line]
        wrong += [f"{pin} has no hash" for pin, hashes in pins(text).items() if not hashes]
    return wrong + [f"{pin} is not in the second" for pin in pins(run_lock) if pin not in pins(develop_lock)]


def pins(text: str) -> dict[str, int]:
    """What a lock file pins, name==version, and by how many hashes."""
    found: dict[str, int] = {}
    last = ""
    for line in text.splitlines():
        if line.strip().startswith("--hash="):
            found[last] += 1
        elif "==" in line:
            last = line.split()[0]
            found[last] = 0
    return found
