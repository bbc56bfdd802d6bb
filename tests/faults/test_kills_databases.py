"""SIGKILL at each point of what is done about databases and their backups: Postgres, where its programs are on the PATH."""

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ahplat.cli.entry import run
from ahplat.engines import embedded, program_image
from events.event import Intent
from tests.faults.harness import Server, eventually
from tests.faults.kills import kill_at_each_point, named, of_noun
from tests.faults.test_embedded_postgres import NO_ROOT

pytestmark = pytest.mark.embedded

INTENTS = of_noun("database", "database_backup")

HAVE = all(
    shutil.which(program, path=program_image.searched(embedded.PATH)) for program in program_image.PROGRAMS["postgres"]
)


@dataclass(frozen=True)
class Within:
    """`ah` in the user namespace of a process, as nsenter starts it."""

    pid: int

    def __call__(self) -> None:
        with Path(f"/proc/{self.pid}/ns/user").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        run()


@pytest.fixture
def not_root(server: Server) -> Iterator[Server]:
    """A server that is not root, nor are its successors, all in one namespace: who is in another may not look at a program."""
    holder = subprocess.Popen([*(() if os.geteuid() else NO_ROOT), "sleep", "infinity"])
    try:
        eventually(lambda: Path(f"/proc/{holder.pid}/cmdline").read_bytes().startswith(b"sleep"))
        if not os.geteuid():
            server.main = Within(holder.pid)
        yield server
    finally:
        holder.kill()
        holder.wait()
        server.end(signal.SIGKILL)
        shut_down(server)


def shut_down(server: Server) -> None:
    """Ends its databases as they want it: what Postgres keeps in memory outlives it where it is killed."""
    for pid in servers_of(server):
        os.kill(pid, signal.SIGINT)
    eventually(lambda: not servers_of(server))


def servers_of(server: Server) -> list[int]:
    """The pids of its Postgres servers."""
    return [pid for pid, argv in server.processes.items() if argv.startswith("postgres -D")]


if HAVE:

    @pytest.mark.parametrize("intent", INTENTS, ids=named)
    def test_servers_that_are_killed_at_each_point_are_followed_by_one_that_ends_it(
        not_root: Server, api_key: str, intent: type[Intent]
    ) -> None:
        kill_at_each_point(not_root, api_key, intent)
