"""The real `ahc` as a process, over a home folder of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.faults.harness import TREE


class Done(Struct, frozen=True):
    """How it ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Ahc:
    """For one server and key."""

    def __init__(self, home: Path, url: str, key: str = "") -> None:
        self.home = home
        self.environ = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(TREE), "AH_URL": url}
        if key:
            self.environ["AH_KEY"] = key

    def start(self, *arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
        """Begins it."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ahplat.ahc.entry", *arguments],
            cwd=cwd or self.home,
            env=self.environ | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, cwd: Path | None = None, stdin: str = "", **environ: str) -> Done:
        """To its end."""
        return self.end(self.start(*arguments, cwd=cwd, **environ), stdin)

    def end(self, process: subprocess.Popen[str], stdin: str = "") -> Done:
        """Waits for its end; nothing that it says is a traceback."""
        try:
            out, err = process.communicate(stdin, timeout=90)
        finally:
            process.kill()
        assert "Traceback" not in out + err, err
        return Done(process.returncode, out, err)

    def interrupt(self, process: subprocess.Popen[str]) -> Done:
        """As Ctrl-C does."""
        process.send_signal(signal.SIGINT)
        return self.end(process)

    def ok(self, *arguments: str, **options: Any) -> Done:
        """To its end, which is a good one."""
        done = self.run(*arguments, **options)
        assert done.code == 0, done
        return done
