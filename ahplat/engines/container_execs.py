"""A command in a container: what is run, and the blocking calls by which it begins and is looked at.

Docker has no call that ends an exec, and gVisor none that ends what its command forked. So each is marked (`exec_marks`),
by a `sh` that says first that it could be started. The sweeper, a second exec, looks for the marks in the container's /proc
and kills what it finds until there is nothing. It runs as the same user and needs `sh` and `grep` of the image.

What has the limit is killed first, and the shell that is its parent has a moment to take its end in: orphaned, it would be
the container's first process's to take in, and Postgres, told of a child that was killed, ends all its connections.
"""

import asyncio
import socket
import threading
from collections.abc import Mapping, Sequence

from docker import APIClient
from docker.errors import APIError, NotFound
from msgspec import Struct

from ahplat import limits
from ahplat.engines import container, exec_marks, lifecycle
from ahplat.engines.dockerd import AWAY, Stream, open_stream
from ahplat.engines.engine import Execution
from ahplat.engines.frames import STDOUT, Frames
from ahplat.engines.lines import Kept
from ahplat.errors import EngineAway, Rejected, Unavailable

CANNOT_EXECUTE, NOT_FOUND, KILLED = 126, 127, 137
_NOT_RUNNING = "is not running"
_REFUSED = b"OCI runtime exec failed:"
_MISSING = (b"no such file or directory", b"executable file not found", b"failed to find executable")
_TELLS = "echo $$ >&2; "  # the first line on stderr is the command's pid
_SWEEP = r"""
# $1: NAME=value, $2: a limit of the resident set, $3: how often to look
command -v grep >/dev/null || exit 3
round=0
waits=yes
while [ $round -lt "$3" ]; do
  round=$((round + 1))
  limited=
  for file in $(grep -lsE "^Max resident set +[0-9]+ +$2 " /proc/[0-9]*/limits); do
    limited="$limited ${file%/*}/stat"
  done
  found=$(test -z "$limited" || grep -lsE "^[0-9]+ .*\) [^ZX] [0-9]+ [0-9]+ " $limited) # what ended keeps its limits
  if test -z "$found"; then
    found=$(grep -lsF "$1" /proc/[0-9]*/environ)
    test -n "$found" || exit 0
    if test -n "$waits"; then
      waits=
      sleep 0.1 2>/dev/null
      continue
    fi
  fi
  for file in $found; do
    process=${file#/proc/}
    kill -9 "${process%/*}" 2>/dev/null
  done
done
exit 4
"""


def telling(argv: Sequence[str], mark: str) -> list[str]:
    """The command, marked, so that its first line on stderr is its pid."""
    return exec_marks.limited(argv, mark, before=_TELLS)


def sweeper(mark: str) -> list[str]:
    """The command that kills all that is marked. It ends with 0 when nothing is left; else it could not see to it."""
    sought = [exec_marks.variable(mark), str(exec_marks.resident_bytes(mark)), str(limits.EXEC_KILL_ROUNDS)]
    return ["sh", "-c", _SWEEP, "sweep", *sought]


class Ended(Struct, frozen=True):
    """What Docker says of an exec. `exit_code` is None until it ended, and for ever where it never began."""

    running: bool
    exit_code: int | None


def create(
    client: APIClient, container_id: str, installation: str, argv: list[str], mark: str, stdin: bool = False
) -> str:
    """Docker's id of the exec, which did not begin yet. Raises Rejected `not_running`."""
    found = lifecycle.ours(client, container_id, installation)
    if found is None or found.status != "running":
        raise Rejected("not_running", "the instance does not run")
    try:
        made = client.exec_create(found.id, argv, stdin=stdin, environment={limits.EXEC_MARK: mark} if mark else None)
    except APIError as error:
        if error.status_code in (404, 409):  # it ended just now
            raise Rejected("not_running", "the instance does not run") from error
        raise
    return str(made["Id"])


def begin(client: APIClient, exec_id: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> Stream:
    """Starts it. Raises Rejected `not_running` where the container ended meanwhile."""
    body = {"Detach": False, "Tty": False}
    try:
        return open_stream(client, "POST", f"/exec/{exec_id}/start", {}, timeout_s, headers, body)
    except APIError as error:
        if error.status_code in (404, 409) or _NOT_RUNNING in (error.explanation or ""):  # 500 where it ended just now
            raise Rejected("not_running", "the instance does not run") from error
        raise


def attach(client: APIClient, exec_id: str) -> tuple[socket.socket, bytes]:
    """Starts it: the connection that is its stdin, stdout and stderr, and what came over it already.

    Raises Rejected `not_running`.
    """
    stream = begin(client, exec_id, limits.ENGINE_TIMEOUT_S, headers={"Connection": "Upgrade", "Upgrade": "tcp"})
    try:
        return stream.detached()
    finally:
        stream.close()


def look(client: APIClient, exec_id: str) -> Ended | None:
    """How it is; None where it went with its container."""
    try:
        found = client.exec_inspect(exec_id)
    except NotFound:
        return None
    return Ended(bool(found["Running"]), found["ExitCode"])


class Output:
    """What a command writes, read in a thread of its own until it ends or is cut. `ended` is for the loop."""

    def __init__(self, stream: Stream, loop: asyncio.AbstractEventLoop) -> None:
        self.stdout, self.stderr = Kept(), Kept()
        self.fault: Exception | None = None
        self.ended = asyncio.Event()
        self._loop = loop
        self._stream = stream
        threading.Thread(target=self._read, name="docker-exec", daemon=True).start()

    def cut(self) -> None:
        self._stream.cut()

    def _read(self) -> None:
        frames = Frames()
        try:
            for data in self._stream.pieces():
                for kind, piece in frames.add(data):
                    (self.stdout if kind == STDOUT else self.stderr).add(piece)
        except Unavailable as error:
            self.fault = error
        except AWAY as error:
            if not self._stream.was_cut:
                self.fault = EngineAway(f"a command's output was cut off: {error}")
        finally:
            self._stream.close()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.ended.set)

    @property
    def has_told(self) -> bool:
        """Whether a `telling` command told its pid: then it was executed."""
        told, end, _ = self.stderr.content[:20].partition(b"\n")
        return bool(end) and told.isdigit()


def was_refused(output: Output, exit_code: int | None) -> bool:
    """Whether the runtime could not execute the command; Docker tells that as its stdout."""
    refused = exit_code in (CANNOT_EXECUTE, NOT_FOUND) and output.stdout.content.startswith(_REFUSED)
    return refused and not output.has_told


def execution(output: Output, exit_code: int | None, timed_out: bool) -> Execution:
    """How it ended, without what is for us alone."""
    if was_refused(output, exit_code):
        code, why = refusal(output.stdout.content)
        return Execution(code, b"", why, truncated=False, timed_out=timed_out)
    stderr = output.stderr.content
    if output.has_told:
        stderr = stderr.partition(b"\n")[2]
    truncated = bool(output.stdout.dropped or output.stderr.dropped)
    return Execution(exit_code, output.stdout.content, stderr, truncated, timed_out)


def refusal(told: bytes) -> tuple[int, bytes]:
    """(exit code, what to say on stderr) of a command that the runtime could not execute.

    >>> refusal(b'OCI runtime exec failed: error finding executable "x" in PATH [/bin]: no such file or directory')
    (127, b'there is no such program in the image\\n')
    """
    if any(words in told for words in _MISSING):
        return NOT_FOUND, b"there is no such program in the image\n"
    return CANNOT_EXECUTE, b"this cannot be executed\n"


def runs(client: APIClient, container_id: str) -> bool:
    """Whether the container does."""
    found = lifecycle.look(client, container_id)
    return found is not None and found.status in container.RUNS
