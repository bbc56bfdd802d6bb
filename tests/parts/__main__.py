"""The command line of `bin/parts`: one line for each part, exit code 1 and one clear line when something fails."""

import argparse
import sys
import time
from collections.abc import Callable

from tests.parts import parts
from tests.parts.programs import PartFailed

TEACHES = """\
Puts the real parts on this machine that tests marked `real` need, and starts them:
Docker Engine and gVisor's runsc as its runtime, an image registry on 127.0.0.1:5000, Traefik, Litestream, Prometheus,
BuildKit, Nixpacks, and the images of the tests.

  bin/parts           install what is missing, start what does not run (about 20 minutes once, then a second)
  bin/parts up        start only
  bin/parts down      end what bin/parts started, and nothing else
  bin/parts --check   list what is missing and how to get it; exit code 1 when something is

All of it lives in ~/.cache/ahplat/parts (XDG_CACHE_HOME is respected), packages of the distribution excepted.
This Docker has a socket of its own; to look into it: docker --host unix:///run/ahplat-parts/docker.sock ps
It needs root, apt, Cargo on the PATH, and Go in /usr/local/go/bin or on the PATH. Versions are in tests/parts/versions.py.
"""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        "bin/parts", description=TEACHES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["install", "up", "down"], default="install")
    parser.add_argument("--check", action="store_true", help="only list what is missing")
    given = parser.parse_args()
    try:
        return check() if given.check else COMMANDS[given.command]()
    except PartFailed as failure:
        print(f"bin/parts: {failure}", file=sys.stderr)
        return 1


def check() -> int:
    """Prints what is missing."""
    lacks = parts.missing()
    print("\n".join(lacks) or "all parts are here")
    return 1 if lacks else 0


def install() -> int:
    """Puts the parts here and starts them."""
    parts.put(report)
    return 0


def up() -> int:
    """Starts what does not run."""
    parts.up()
    print("all parts run")
    return 0


def down() -> int:
    """Ends what we started."""
    parts.down(report)
    return 0


def report(part: str, step: Callable[[], str | None]) -> None:
    """Runs one step and prints its line."""
    began = time.monotonic()
    done = step()
    took_s = time.monotonic() - began
    took = f" in {took_s:.0f} s" if took_s >= 1 else ""
    print(f"{part:<10}{done or 'there already'}{took}", flush=True)


COMMANDS = {"install": install, "up": up, "down": down}

if __name__ == "__main__":
    sys.exit(main())
