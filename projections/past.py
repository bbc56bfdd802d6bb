"""The views as they were at a position, in memory: of one tenant, or of all.

What the rows of a tenant say follows from its own events and those of nobody, so that of its past no other tenant's need
be read. Those of one tenant and those of another share no row: together they are the views of all. The tests hold that
for every event.
"""

from collections.abc import Iterator

from apsw import Connection

from events.event import Recorded
from events.log import read_all, read_stream, read_tenant_and_platform
from projections.views import CHUNK, PROJECTIONS, Projections, Views


def size_of(log: Connection, tenant: str | None, position: int, at_most: int) -> int:
    """How many events there are to fold, `at_most` or more where there are so many."""
    if tenant is None:
        return min(position, at_most)
    counted = "SELECT count(*) FROM (SELECT 1 FROM event WHERE tenant = ? AND position <= ? LIMIT ?)"
    return sum(log.execute(counted, (whose, position, at_most)).get for whose in (tenant, ""))


def views_at(log: Connection, tenant: str | None, position: int, projections: Projections = PROJECTIONS) -> Connection:
    """The views of a tenant, or of all where it is None, as they were right after the event at `position`."""
    views = Views(None, projections)
    views.begin()
    views.create("")
    link = b""
    for chunk in _chunks(log, tenant, position):
        views.apply_all(chunk)
        link = chunk[-1].link
    views.commit(position, link)
    return views.db


def views_of_stream(log: Connection, stream: str, version: int) -> Connection:
    """What one stream says up to a version, in memory: the rows of what it is about, without what other streams add."""
    views = Views(None)
    views.begin()
    views.create("")
    after = 0
    while after < version:
        chunk = read_stream(log, stream, after, min(CHUNK, version - after))
        views.apply_all(chunk)
        after = chunk[-1].version
    return views.db


def _chunks(log: Connection, tenant: str | None, up_to: int) -> Iterator[list[Recorded]]:
    after = 0
    while after < up_to:
        if tenant is None:
            found = read_all(log, after, min(CHUNK, up_to - after))
        else:
            found = read_tenant_and_platform(log, tenant, after, up_to, CHUNK)
        if not found:
            return
        yield found
        after = found[-1].position
