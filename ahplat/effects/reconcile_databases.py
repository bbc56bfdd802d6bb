"""The look at databases: what runs is compared with what should, as `reconcile.py` does it for services.

`diff` is a function of values. A database has one server, found by its name, so there is at most one finding. One that has
failed is left alone until somebody asks for it.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from ahplat import limits
from ahplat.commands.command import Command
from ahplat.commands.database_servers import ReportDatabaseCrash, ReportDatabaseDrift
from ahplat.effects.database_specs import server_name
from ahplat.effects.reconcile_backups import BackupLook
from ahplat.effects.task import Platform
from ahplat.effects.turns import in_turns
from ahplat.engines.engine import Instance
from ahplat.errors import Rejected, Unavailable, Unreadable
from events.databases import DatabaseDrifted
from projections import databases
from projections.databases import DatabaseRow

logger = logging.getLogger("ahplat.reconcile")


def diff(row: DatabaseRow, found: Instance | None, epoch: int) -> str:
    """What is not as it should be, of a database without open work; "" when all is well."""
    if row.desired != "running":
        return "stray" if found else ""
    if row.status == "failed":
        return ""
    if found is None or found.id != row.container_id or found.state == "removing":
        return "missing"
    if found.identity.epoch != epoch:
        return "foreign_epoch"
    if found.state != "running":
        return found.state
    if (found.host, found.port) != (row.host, row.host_port):
        return "moved"
    return "" if found.name == server_name(row.database_id) else "renamed"


class DatabaseLook:
    """Looks at one database or at all. `is_busy` says of a stream whether work on it is open, and looks again later."""

    def __init__(self, platform: Platform, is_busy: Callable[[str], bool]) -> None:
        self.platform = platform
        self.backups = BackupLook(platform, is_busy)
        self.drifts = 0
        self._is_busy = is_busy

    async def look_at(self, database_id: str, watched: bool) -> None:
        """Looks at one, where it is a database that is there. Raises Unavailable."""
        row = databases.find(self.platform.views, database_id)
        if row and row.is_there and not self._is_busy(f"database-{database_id}"):
            await self._compare(row, await self.platform.engine.list_databases(database_id), watched)

    async def look_at_all(self, watched: bool) -> None:
        """Looks at every one. Raises Unavailable."""
        rows = databases.list_all(self.platform.views)  # before the engine is asked, as the report's fence
        found: dict[str, list[Instance]] = {}
        for instance in await self.platform.engine.list_databases():
            found.setdefault(instance.identity.database, []).append(instance)
        async for row in in_turns(rows):
            await self._compare(row, found.get(row.database_id, []), watched)
        await self.backups.look_at_all(list(found))

    async def _compare(self, row: DatabaseRow, found: list[Instance], watched: bool) -> None:
        if self._is_busy(f"database-{row.database_id}"):
            return
        server = found[0] if found else None
        finding = diff(row, server, self.platform.epoch)
        if not finding:
            return
        self.drifts += 1
        report = await self._report(row, finding, server, watched)
        with suppress(Rejected):  # the world moved between the look and the report: the next look tells
            await self.platform.writer.submit(report, actor="system", expected=row.version)

    async def _report(self, row: DatabaseRow, finding: str, server: Instance | None, watched: bool) -> Command:
        now_us = self.platform.clock.now_us()
        if finding == "exited" and server is not None and watched:
            return ReportDatabaseCrash(
                tenant_id=row.tenant_id,
                database_id=row.database_id,
                instance=server.id,
                seen_us=now_us,
                exit_code=server.exit_code,
                oom_killed=server.oom_killed,
                tail=await self._sealed_tail(row, server.id),
            )
        drifted = DatabaseDrifted(finding, server.id if server else row.container_id or "")
        return ReportDatabaseDrift(
            tenant_id=row.tenant_id, database_id=row.database_id, seen_us=now_us, drifted=drifted
        )

    async def _sealed_tail(self, row: DatabaseRow, instance: str) -> bytes:
        try:
            tail = await self.platform.engine.tail(instance, limits.OUTCOME_TAIL_LINES)
            stream = f"database-{row.database_id}"
            return self.platform.keyring.seal(row.tenant_id, stream, "tail", tail.encode()) if tail else b""
        except (Unavailable, Unreadable):
            return b""
