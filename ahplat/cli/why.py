"""`ah why`: why something is as it is, as a tree with times: from the request that began it to all that it led to."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import click
import msgspec
from msgspec import structs

from ahplat import why as causes
from ahplat.api.frames import rfc3339
from ahplat.cli.folders import data_dir_option
from ahplat.cli.looking import EXIT_UNREADABLE, UNREADABLE, failed, id_of_tenant, ids_of_resource, open_log
from ahplat.why import Node, Why
from events.log import head
from events.selection import Wanted, position_in, read_wanted

_CUT = {
    "causes": "the causes before the first one are not shown",
    "depth": "what lies deeper is not shown",
    "size": "there is more",
    "reading": "there may be more",
}


@click.command()
@click.argument("what", metavar="RESOURCE|POSITION")
@data_dir_option("events.db")
@click.option("--tenant", default="", help="Whose it is: an id, or a part of host names.")
@click.option("--json", "as_json", is_flag=True, help="The same as GET /v1/events/POSITION/why.")
def why(what: str, data_dir: Path, tenant: str, as_json: bool) -> None:
    """Show why something happened: who began it, when and how, and what that led to, with the times between.

    RESOURCE is an id, or a name that it has or had: then it is about the newest that happened to it, and all that began
    with the same request. POSITION is that of an event. Reads the log; the server need not run.
    """
    log = open_log(data_dir)
    try:
        last = head(log)
        position = position_in(what) or 0
        asked = position or _newest(log, what, id_of_tenant(log, tenant))
        found = causes.explain(log, asked, last)
        if found is None:
            failed(f"there is no event {what}: the log ends at {last}")
        if not position:
            found = causes.explain(log, causes.beginning(found), last)
            assert found, asked
    except UNREADABLE as error:
        failed(f"{data_dir / 'events.db'} cannot be read ({error})", EXIT_UNREADABLE)
    if as_json:
        from ahplat.api.why import explained

        click.echo(msgspec.json.encode(explained(found)))
    else:
        click.echo("\n".join(lines(found, asked)))


def _newest(log: apsw.Connection, what: str, tenant: str) -> int:
    """The position of the newest event about a resource; ends the program where there is none, or where it may be many."""
    ids = ids_of_resource(log, what, tenant)
    if len(ids) > 1:
        failed(f"{what} may be {' or '.join(ids)}: name one by its id, or say --tenant")
    found = read_wanted(log, Wanted(tenant, resources=ids), 0, head(log), 1, newest=True)
    if not found:
        failed(f"nothing happened to {what}")
    return found[0].position


def lines(found: Why, asked: int) -> list[str]:
    """The screen: who began it, then the tree; `◀` stands at the event that was asked for."""
    first = found.causes[0] if found.causes else found.event
    marks = {"request": first.meta.correlation, "agent": first.meta.agent, "run": first.meta.run}
    told = ", ".join(f"{name} {text}" for name, text in marks.items() if text)
    began = f"{rfc3339(first.at.at_us)}  {first.meta.actor or 'nobody'}: {first.meta.command or 'no command'}"
    rows = [began + (f" ({told})" if told else ""), ""]
    if first.first < first.last:
        rows.append(f"{'':10}{first.first} to {first.last} are of one command")
    tree = found.event
    for cause in reversed(found.causes):
        tree = structs.replace(cause, effects=[tree])
    rows += _tree(tree, "", "", asked)
    return rows + [
        f"{'…':>8}  {_CUT[cut]}" + (f" after {found.read_to}" if cut in ("size", "reading") else "")
        for cut in found.cut
    ]


def _tree(node: Node, branch: str, below: str, asked: int) -> Iterator[str]:
    yield _line(node, branch, asked)
    for one in node.effects:
        is_last = one is node.effects[-1]
        yield from _tree(one, below + ("└─ " if is_last else "├─ "), below + ("   " if is_last else "│  "), asked)


def _line(node: Node, branch: str, asked: int) -> str:
    after = "" if node.after_us is None else f"+{duration(node.after_us)}"
    mark = " ◀" if node.at.position == asked else ""
    return f"{node.at.position:>8}  {after:>10}  {branch}{node.at.type}  {node.at.stream}{mark}"


def duration(us: int) -> str:
    """
    >>> duration(90), duration(85_700), duration(12_345_678), duration(3_725_000_000), duration(90_000_000_000)
    ('0.1 ms', '85.7 ms', '12.3 s', '1h2m', '1d1h')
    """
    seconds = us // 1_000_000
    if seconds < 1:
        return f"{us / 1_000:.1f} ms"
    if seconds < 60:
        return f"{us / 1_000_000:.1f} s"
    minutes, hours = seconds // 60, seconds // 3_600
    if hours < 1:
        return f"{minutes}m{seconds % 60}s"
    return f"{hours}h{minutes % 60}m" if hours < 24 else f"{hours // 24}d{hours % 24}h"
