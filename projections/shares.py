"""Views made in shares of the tenants, side by side, and put together.

The invariant that allows it: no event of a tenant reads or changes a row that follows from another tenant's, or from
nobody's.
"""

from pathlib import Path

import apsw

from events.database import open_database
from events.log import link_at, read_share
from projections.views import (
    CHUNK,
    PROJECTIONS,
    Progress,
    begun,
    checkpoint_in,
    hurry,
    put_in_place,
    remove,
    tables_in,
)


class SharesDiffer(Exception):
    """The shares are not of one log up to one position."""


def make_share(
    path: Path, log: apsw.Connection, installation: str, progress: Progress, share: int, shares: int, up_to: int
) -> None:
    """Makes a file of those rows that one of so many shares of the tenants has; `put_together` wants them all."""
    views = begun(path, installation, PROJECTIONS)
    position = 0
    while chunk := read_share(log, share, shares, position, up_to, CHUNK):
        views.apply_all(chunk)
        position = chunk[-1].position
        progress(position, up_to)
    views.commit(up_to, link_at(log, up_to))
    views.close()
    progress(up_to, up_to)


def put_together(path: Path, shares: list[Path]) -> None:
    """Puts the views that are in shares in the place of those at `path`. Raises SharesDiffer, and apsw errors."""
    found = {share.name: checkpoint_in(share) for share in shares}
    if unfinished := [name for name, checkpoint in found.items() if checkpoint is None]:
        raise SharesDiffer(f"{unfinished[0]} was not finished")
    if len({*found.values()}) > 1:
        raise SharesDiffer("the shares of the views are not of one log")
    first, *others = shares
    db = open_database(first, "NORMAL")
    try:
        hurry(db)
        for other in others:
            db.execute("ATTACH ? AS share", (str(other),))
            for table in tables_in(db):
                db.execute(f"INSERT INTO main.{table} SELECT * FROM share.{table}")
            db.execute("DETACH share")
            remove(other)
    finally:
        db.close()  # also where there is no room: a file that is removed and held open keeps its own
    put_in_place(first, path)
