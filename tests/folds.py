"""The log folded in shares of the tenants, as a start does on several cores: what comes of it has to be what one fold makes."""

from pathlib import Path

from apsw import Connection

from events.database import open_reader
from events.log import head
from projections.shares import make_share, put_together
from projections.views import digests

SHARES = 3  # nobody's events, those of `aaa…` and those of `bbb…` are in one each


def digests_in_shares(log: Connection, folder: Path, up_to: int = 0) -> dict[str, str]:
    """Of views that are made in shares, one after the other, from all of the log or up to a position."""
    made = [folder / f"share-{share}.db" for share in range(SHARES)]
    for share, path in enumerate(made):
        make_share(path, log, "", lambda done, of: None, share, SHARES, up_to or head(log))
    together = folder / "together.db"
    put_together(together, made)
    with open_reader(together) as views:
        found = digests(views)
    together.unlink()
    return found
