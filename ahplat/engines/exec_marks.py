"""How the processes of one command are known: by a variable in their environment, and by a limit.

Children inherit both, sessions and parents left behind or not. The variable is there from the first moment, and a program
may start others without it. The limit is the hard one of the resident set (RLIMIT_RSS), which no kernel enforces any more,
gVisor's neither, which nobody else sets, and which nothing can raise again that lacks CAP_SYS_RESOURCE.

In gVisor the first process of an exec *shares* its limits with the first process of the container, and only a child has its
own. So a shell stays as the command's parent, and is silent of how that ended.
"""

from collections.abc import Sequence

from ahplat import limits

KILOBYTE = 1024
_SCRIPT = 'exec 3>&2 2>/dev/null; (ulimit -m {kilobytes}; exec 2>&3 3>&-; {before}exec "$@"); exit $?'


def variable(mark: str) -> str:
    """As it stands in the environment.

    >>> variable("ab")
    'AH_EXEC_ID=ab'
    """
    return f"{limits.EXEC_MARK}={mark}"


def resident_bytes(mark: str) -> int:
    """The limit, of the last ten digits of the mark: an id begins with a time, which others share.

    >>> resident_bytes("01a21091e7da7d1e97010000000002")
    2048
    """
    return int(mark[-10:], 16) * KILOBYTE


def limited(argv: Sequence[str], mark: str, before: str = "") -> list[str]:
    """The command, started by a shell that limits it, where it can, and does `before`."""
    script = _SCRIPT.format(kilobytes=resident_bytes(mark) // KILOBYTE, before=before)
    return ["sh", "-c", script, "sh", *argv]
