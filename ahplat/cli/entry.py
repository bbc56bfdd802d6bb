"""Where `ah` begins: Ctrl-C ends it without a word also while the rest is being imported, which takes a third of a second."""

import os
import signal
import sys
from errno import ENOSPC


def run() -> None:
    """Runs `ah` with the process's arguments."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who began it: then nobody wants to hear
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 — pathlib is slow to import
    from ahplat.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(prog_name="ah")
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        sys.exit(f"ah: there is no room for what it says ({error})")


if __name__ == "__main__":
    run()
