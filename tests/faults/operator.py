"""The operator's commands over a server's folder, as processes that can be killed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.harness import TREE, Server

Ended = subprocess.CompletedProcess[str]


def ah(*arguments: str | Path, crash_at: str = "") -> Ended:
    """One command to its end."""
    argv = [sys.executable, "-P", "-m", "ahplat.cli.entry", *map(str, arguments)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    environ |= {"PYTHONPATH": str(TREE), "AH_TOOL_CRASH_AT": crash_at}
    done = subprocess.run(argv, env=environ, cwd=TREE, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def back_up(server: Server, to: Path, crash_at: str = "") -> Ended:
    return ah("backup", "--data-dir", server.folder, "--to", to, crash_at=crash_at)


def bring(backup: Path, server: Server, *options: str | Path, crash_at: str = "") -> Ended:
    return ah("restore", backup, "--data-dir", server.folder, *options, crash_at=crash_at)


def rotate(server: Server, crash_at: str = "") -> Ended:
    return ah("rotate-key", "--data-dir", server.folder, crash_at=crash_at)
