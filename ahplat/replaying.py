"""One replay, as a process of its own: `python -m ahplat.replaying LOG INTO KIND POSITION` makes a file of views.

It is a process because the order of sets and hashes is chosen when one begins (PYTHONHASHSEED). Each line that it writes
is how many events it has folded.
"""

import sys
from pathlib import Path

from events.database import open_reader
from projections.metering import METERING
from projections.views import PROJECTIONS, rebuild

KINDS = {"views": PROJECTIONS, "metering": METERING}


def replay(log_path: str, into: str, kind: str, position: str) -> None:
    """Folds the log up to a position into a new file."""
    log = open_reader(Path(log_path))
    rebuild(Path(into), log, "", lambda done, _: print(done, flush=True), KINDS[kind], int(position))
    log.close()


if __name__ == "__main__":
    replay(*sys.argv[1:])
