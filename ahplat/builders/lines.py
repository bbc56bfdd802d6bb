"""What a program says, as lines that can be shown: no control characters, no secrets, none too long. Pure."""

import re
from collections.abc import Iterable, Sequence

from ahplat import limits

MASK = "********"
CUT = " … [cut]"

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")  # ECMA-48: CSI, OSC, C1
_CONTROLS = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160), 0x2028, 0x2029))


def clean(line: bytes, secrets: Sequence[str]) -> str:
    """One line without its end, as a terminal would leave it: what a carriage return overwrites is gone.

    >>> clean(b"10%\\r\\x1b[32mdone\\x1b[0m hunter22\\r", ["hunter22"])
    'done ********'
    """
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    text = _ESCAPES.sub("", text).translate(_CONTROLS)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def secrets_in(values: Iterable[str]) -> list[str]:
    """What is to be masked of some secret values: each line that is long enough not to hit words by chance, longest first.

    >>> secrets_in(["short", "-----BEGIN KEY-----\\nabcdefgh\\n"])
    ['-----BEGIN KEY-----', 'abcdefgh']
    """
    found = {line.strip() for value in values for line in value.splitlines()}
    return sorted((line for line in found if len(line) >= limits.MASKED_CHARS), key=lambda line: (-len(line), line))


class Splitter:
    """Cuts what comes in pieces into lines; of a line that is too long the rest is dropped, so it is never a stall."""

    def __init__(self) -> None:
        self._rest = b""
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole by now, without their ends."""
        *whole, rest = (self._rest + data).split(b"\n")
        if whole and self._dropping:  # the first is the end of one that was cut
            whole = whole[1:]
            self._dropping = False
        if self._dropping:
            rest = b""
        elif len(rest) > limits.BUILD_LINE_BYTES:
            whole.append(rest)
            self._dropping, rest = True, b""
        self._rest = rest
        return [_cut(line) for line in whole]

    def end(self) -> list[bytes]:
        """The last line, where it had no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _cut(line: bytes) -> bytes:
    return line if len(line) <= limits.BUILD_LINE_BYTES else line[: limits.BUILD_LINE_BYTES] + CUT.encode()
