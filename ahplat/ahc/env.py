"""`ahc env`: a service's variables."""

from typing import Any

import click

from ahplat.ahc import follow, names
from ahplat.ahc.client import segment
from ahplat.ahc.failures import USAGE, Failure
from ahplat.ahc.session import Session, changes, looks_back, pass_session


@click.command()
@click.argument("service")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--file", "file", type=click.File(), help="Lines of KEY=VALUE; - is stdin, which no process list shows.")
@click.option("--unset", multiple=True, metavar="KEY", help="Take one away; as often as wanted.")
@click.option("--reveal", is_flag=True, help="Show values.")
@click.option("--restart", is_flag=True, help="Apply what changed at once, and wait until that serves.")
@looks_back
@changes
@pass_session
def env(
    session: Session,
    service: str,
    pairs: tuple[str, ...],
    file: Any,
    unset: tuple[str, ...],
    reveal: bool,
    restart: bool,
) -> None:
    """Show the variables of a service, set some, or take some away.

    \b
      ahc env web
      ahc env web MODE=production --restart
      ahc env web --file .env
      ahc env web --unset MODE
      ahc env web --as-of 120

    What is set counts from the next deployment or restart on.
    """
    found = names.find(session.client, "service", service)
    path = f"/v1/services/{found['id']}"
    values = {**of_lines(file.read() if file else ""), **of_arguments(pairs)}
    if values:
        session.order("POST", f"{path}/env", values, then=f"take away {', '.join(unset)}" if unset else "")
    for key in unset:
        session.order("DELETE", f"{path}/env/{segment(key)}")
    if restart and (values or unset):
        before = session.client.read(f"{path}/deployments", limit=1)
        session.order("POST", f"{path}/restart")
        after = session.client.read(f"{path}/deployments", limit=1)
        if after and after != before:
            follow.deployment(session, found, after[0]["id"])
    shown = session.client.read(f"{path}/env", reveal="true" if reveal else "")
    _show(session, found, shown, bool(values or unset) and not restart)


def _show(session: Session, service: dict[str, Any], shown: dict[str, str], is_pending: bool) -> None:
    def show() -> None:
        for key in sorted(shown):
            session.screen.line(f"{key}={shown[key]}")
        if not shown:
            session.screen.line("no variables")
        if is_pending:
            session.screen.progress(f"this counts from the next deployment on: ahc restart {service['name']}")

    session.screen.result(shown, show)


def of_arguments(pairs: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE each, as it stands: what quotes there were the shell has taken. Raises Failure.

    >>> of_arguments(("A=1", 'B="x"', "C= y\\n"))
    {'A': '1', 'B': '"x"', 'C': ' y\\n'}
    """
    return dict(_pair(pair, pair) for pair in pairs)


def of_lines(text: str) -> dict[str, str]:
    """A file's lines of KEY=VALUE, quoted or not; empty ones and those that begin with # are none. Raises Failure.

    >>> of_lines("A=1\\n# no\\n\\nexport B='x=y'\\nC=\\"two words\\"")
    {'A': '1', 'B': 'x=y', 'C': 'two words'}
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            key, value = _pair(line.strip().removeprefix("export "), f"line {number}")
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[key] = value[1:-1] if is_quoted else value
    return found


def _pair(text: str, shown: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key.strip():
        raise Failure(USAGE, f"{shown[:40]!r} is no KEY=VALUE", "quote what has spaces: 'KEY=two words'")
    return key.strip(), value
