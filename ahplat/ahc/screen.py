"""What is said, and where: results on stdout, progress and trouble on stderr.

With `--json` stdout holds one JSON document (or one a line, of what has no end), a failure's problem included. Progress is
for people at a terminal: without one nothing is said of it. Colours are rich's, which leaves them out where NO_COLOR is set
or nobody sees them; what comes from the server is never taken for markup, and cannot move the cursor.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ahplat.ahc.failures import Failure

STYLES = {  # of statuses, wherever they are shown
    "running": "green",
    "succeeded": "green",
    "ok": "green",
    "active": "green",
    "failed": "red",
    "crashed": "red",
    "circuit_open": "red",
    "degraded": "red",
    "unavailable": "red",
    "deploying": "yellow",
    "pending": "yellow",
    "provisioning": "yellow",
    "restoring": "yellow",
}
_WIDE = 100_000  # columns: nothing is cut or wrapped here, a terminal wraps what is longer


class Screen:
    """See the module."""

    def __init__(self, out: IO[str], err: IO[str], environ: dict[str, str]) -> None:
        self.as_json = False
        self.has_people = err.isatty()
        self.hint = ""  # how to look again at what goes on, for who interrupts
        self.is_ordering = False  # a command is on its way, and nobody knows yet whether it was accepted
        self._out = out
        self._err = err
        self._console = _console(out, environ)
        self._errors = _console(err, environ)
        self._status = ""

    # results

    def result(self, data: Any, show: Callable[[], None]) -> None:
        """What came of it: the data for programs, or what `show` prints for people."""
        if self.as_json:
            self.document(data)
        else:
            show()

    def document(self, data: Any) -> None:
        """One JSON document on a line of its own."""
        self._out.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._out.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people."""
        self._console.print(Text(clean(text), style=style), soft_wrap=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[Any]], nothing: str) -> None:
        """Rows under heads, whole however narrow the terminal is; `nothing` where there are none. STATUS has colours."""
        if not rows:
            self.line(nothing)
            return
        table = Table(*heads, box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
        for column in table.columns:
            column.no_wrap = True
            column.overflow = "ignore"
        for row in rows:
            table.add_row(*(_cell(head, value) for head, value in zip(heads, row, strict=True)))
        self._console.print(table, soft_wrap=True)

    def facts(self, pairs: Sequence[tuple[str, Any]]) -> None:
        """Names and values, one to a line; what there is none of is left out."""
        known = [(name, value) for name, value in pairs if value not in (None, "", [])]
        width = max((len(name) for name, _ in known), default=0)
        for name, value in known:
            text = Text(f"{name:{width}}  ", style="dim")
            text.append_text(_cell("STATUS" if name == "status" else name, value))
            self._console.print(text, soft_wrap=True)

    def raw(self, text: str) -> None:
        """A service's own words, as they are."""
        self._out.write(text)
        self._out.flush()

    def raw_error(self, text: str) -> None:
        """The same, on stderr."""
        self._err.write(text)
        self._err.flush()

    # progress

    def progress(self, text: str, style: str = "dim") -> None:
        """A line for who watches."""
        if self.has_people:
            self._errors.print(Text(clean(text), style=style), soft_wrap=True)

    def state(self, what: str, status: str, more: str = "") -> None:
        """What became of something, told when that changes."""
        told = f"{what} {status}{f': {more}' if more else ''}"
        if told != self._status:
            self._status = told
            self.progress(told, STYLES.get(status, "cyan"))

    # trouble

    def warn(self, text: str) -> None:
        """A line on stderr, whoever reads it."""
        self._errors.print(Text(f"ahc: {clean(text)}", style="yellow"), soft_wrap=True)

    def failure(self, failure: Failure) -> None:
        """Two lines: what, and what to do next; with `--json` the problem."""
        if self.as_json:
            self.document(failure.problem)
            return
        self._errors.print(Text(f"ahc: {clean(failure.what)}", style="bold red"), soft_wrap=True)
        if failure.hint:
            self._errors.print(Text(f"     {clean(failure.hint)}"), soft_wrap=True)


def _console(file: IO[str], environ: dict[str, str]) -> Console:
    return Console(file=file, width=_WIDE, highlight=False, markup=False, emoji=False, _environ=environ)


def _cell(head: str, value: Any) -> Text:
    text = "" if value is None else str(value)
    return Text(clean(text), style=STYLES.get(text, "") if head == "STATUS" else "")


def clean(text: str) -> str:
    """Without what a terminal takes for orders.

    >>> clean("a\\x1b[2Jb\\tc\\r")
    'a?[2Jb\\tc?'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def time_of(unix_s: int | None) -> str:
    """A moment, in the reader's own time zone.

    >>> time_of(None)
    ''
    """
    return f"{datetime.fromtimestamp(unix_s, UTC).astimezone():%F %T}" if unix_s else ""
