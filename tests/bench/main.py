"""The command line of `bin/bench`: measures group by group, in one run, and prints one table."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    appending,
    building,
    compare,
    databases,
    deploying,
    enduring,
    figure,
    following,
    growing,
    over_http,
    rebuilding,
    routing,
    starting,
    streaming,
    verifying,
)
from tests.bench.figure import MISSED, Figure

TEACHES = """\
Measures the platform, each figure in one run beside a bare baseline of the same kind, and says whether it is what was
aimed at. Ratios hold from machine to machine, absolute figures do not: read the ratio first. Everything happens on the
loopback and in a temporary folder; what is started is ended.

  http      an authenticated GET and a POST: CPU of the server at 95/s, and the ceiling at 32 connections with limits
            off. Bare: aiohttp with one route, the same bytes, for POST one SQLite insert with synchronous=FULL
  append    the log alone, and commands decided, appended and projected, at 1, 64 and 1,024 callers. Bare: SQLite
            inserts in batches as large
  rebuild   all views from a log, on all cores. Bare: reading and decoding it, on one
  verify    the whole log checked, by `ah verify` on all cores and by bin/ah-verify on one. Bare: reading it, and as many
            hashes, on one core
  stream    from the log's COMMIT to the frame at the client, at 1 and 100 streams. Bare: aiohttp, from a thread
  start     from the spawn to ready with a log of 1M events. Bare: with one of 1k
  memory    resident after the start, with each engine that is here
  deploy    a deploy over HTTP on each engine that is here. Bare: the engine's calls and the wait for health
  follow    from the write of a log line to its follower over HTTP. Bare: docker logs -f, and tail -f of a process's
  build     from the POST of a build to the pushed image, with Docker. Bare: nixpacks and buildctl on a folder
  routing   a new service until it answers through Traefik. Bare: `docker run` until it answers. And the requests that
            fail during 100 deploys, rollbacks and restarts in a row: none
  databases a new database until it runs, with Docker. Bare: `docker run` until SELECT 1 or PING is answered
  load      10 minutes of 80 % of what all tenants may ask, 200 streams, restarts; then three times as much. Only when
            asked for, 11 minutes. Bare: the first minute
  growth    starts, memory, requests on a log of 5M events, and with 1,000 tenants of 20 services. Only when asked for,
            about 10 minutes. Bare: a log of 10k

  bin/bench                   all of it but the last two, about 13 minutes
  bin/bench --quick           shorter and rougher, a smaller log
  bin/bench --only append     one group; repeatable
  bin/bench --json            the figures as JSON on stdout, one line
  bin/bench --compare REV     this tree and another revision in pairs, five times in turns: the ratio is what counts

What needs Docker is left out, and says so, where bin/parts has not put it here. The exit code is 0 when every aim
is met, 1 when not.
"""

GROUPS: dict[str, Callable[[Path, bool], Iterator[Figure]]] = {
    "http": over_http.figures,
    "append": appending.figures,
    "rebuild": rebuilding.figures,
    "verify": verifying.figures,
    "stream": streaming.figures,
    "start": starting.figures,
    "memory": starting.memory,
    "deploy": deploying.figures,
    "follow": following.figures,
    "build": building.figures,
    "routing": routing.figures,
    "databases": databases.figures,
    "load": enduring.figures,
    "growth": growing.figures,
}
LONG = ("load", "growth")  # only where they are asked for


def main() -> int:
    """Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # set also where a shell has them ignored for its background jobs
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        "bin/bench", description=TEACHES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(GROUPS), metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="shorter and rougher")
    parser.add_argument("--json", action="store_true", help="JSON on stdout instead of the table")
    parser.add_argument("--compare", metavar="REV", help="measure this tree and that revision in pairs")
    parser.add_argument("--rounds", type=int, default=5, help="of --compare: how many pairs [default: 5]")
    given = parser.parse_args()
    groups = given.only or [name for name in GROUPS if name not in LONG]
    python = f"Python {platform.python_version()} of {sys.base_prefix}"
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {python}: where others work too, look at the ratios")
    try:
        if given.compare:
            print(f"\n{compared(given.compare, groups, given.quick, given.rounds)}")
            return 0
        figures = measured(groups, given.quick)
    except KeyboardInterrupt:
        return 130
    print(json.dumps(figure.as_json(figures)) if given.json else f"\n{figure.table(figures)}")
    return int(any(one.verdict == MISSED for one in figures))


def measured(groups: list[str], quick: bool) -> list[Figure]:
    """All figures of the groups, said on stderr as they come."""
    found = []
    with tempfile.TemporaryDirectory(prefix="ah-bench-") as folder:
        for group in groups:
            own = Path(folder) / group
            own.mkdir()
            for one in GROUPS[group](own, quick):
                found.append(one)
                say(f"{group:8} {one.name}: {figure.number(one.value)} {one.unit}")
    return found


def compared(revision: str, groups: list[str], quick: bool, rounds: int) -> str:
    """The table of pairs."""
    found: list[compare.Paired] = []
    with (
        tempfile.TemporaryDirectory(prefix="ah-bench-") as folder,
        compare.checked_out(revision, Path(folder) / "other") as other,
    ):
        for group in groups:
            found += compare.paired(other, group, quick, rounds)
    return compare.table(found, revision)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
