"""What `.dockerignore` leaves out: the patterns of Docker's own documentation, the last that matches deciding."""

import re
from collections.abc import Iterable

_ALWAYS = ("Dockerfile",)  # builds need it, whatever stands there


class Ignored:
    """The lines of one file.

    >>> ignored = Ignored(["# caches", "*.log", "**/*.pyc", "node_modules", "!keep.log", "/build"])
    >>> [ignored.has(path) for path in ("a.log", "keep.log", "src/a.log", "src/x.pyc", "node_modules/a/b", "build/x")]
    [True, False, False, True, True, True]
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            pattern = text.removeprefix("!").strip().strip("/")
            if pattern:
                self._rules.append((re.compile(_regex(pattern) + r"(?:/.*)?"), not text.startswith("!")))

    def has(self, path: str) -> bool:
        """Whether a file is left out."""
        left_out = False
        for pattern, leaves_out in self._rules:
            if pattern.fullmatch(path):
                left_out = leaves_out
        return left_out and path not in _ALWAYS


def _regex(pattern: str) -> str:
    """
    >>> _regex("**/a?.[ch]"), _regex("x/**")
    ('(?:.*/)?a[^/]\\\\.[ch]', 'x/.*')
    """
    made, at = "", 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/"):
            made, at = made + "(?:.*/)?", at + 3
        elif rest.startswith("**"):
            made, at = made + ".*", at + 2
        elif rest[0] in "*?":
            made, at = made + ("[^/]*" if rest[0] == "*" else "[^/]"), at + 1
        elif found := re.match(r"\[(\^?)([^\]\\/]+)\]", rest):
            made, at = made + f"[{found[1]}{found[2]}]", at + found.end()
        else:
            made, at = made + re.escape(rest[0]), at + 1
    return made
