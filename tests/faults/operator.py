"""The operator's commands over a server's folder, as processes that can be killed."""

import os
import subprocess
from pathlib import Path

from tests.faults.harness import TREE, Server
from tests.folders import memory_folder
from tests.forked import Forked

Ended = subprocess.CompletedProcess[str]


def ah(*arguments: object, crash_at: str = "", **env: str) -> Ended:
    """One command to its end."""
    argv = list(map(str, arguments))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    environ |= {"PYTHONPATH": str(TREE), "AH_TOOL_CRASH_AT": crash_at} | env
    with memory_folder() as folder:
        said, errors = folder / "said", folder / "errors"
        process = Forked(argv, environ, said, errors)
        try:
            done = Ended(argv, process.wait(60), said.read_text(), errors.read_text())
        finally:
            process.kill()
    assert "Traceback" not in done.stderr, done.stderr
    return done


def back_up(server: Server, to: Path, crash_at: str = "") -> Ended:
    return ah("backup", "--data-dir", server.folder, "--to", to, crash_at=crash_at)


def bring(backup: Path, server: Server, *options: str | Path, crash_at: str = "") -> Ended:
    return ah("restore", backup, "--data-dir", server.folder, *options, crash_at=crash_at)


def rotate(server: Server, crash_at: str = "") -> Ended:
    return ah("rotate-key", "--data-dir", server.folder, crash_at=crash_at)
