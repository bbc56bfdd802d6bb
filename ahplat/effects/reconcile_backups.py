"""The look at backups of databases: those that are older than is kept go, and so does a scratch server that nobody uses.

Both are found by looking, so that no death in between leaves one for ever. A scratch server goes once two looks agree.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from ahplat import limits
from ahplat.commands.database_backups import RemoveBackup
from ahplat.effects import scratch
from ahplat.effects.task import Platform
from ahplat.errors import Rejected
from projections import database_backups
from projections.database_backups import BackupRow

logger = logging.getLogger("ahplat.reconcile")


class BackupLook:
    """Looks at all. `is_busy` says of a stream whether work on it is open."""

    def __init__(self, platform: Platform, is_busy: Callable[[str], bool]) -> None:
        self.platform = platform
        self._is_busy = is_busy
        self._left: frozenset[str] = frozenset()  # backups with a scratch server that nobody used when it was looked at

    async def look_at_all(self, found: list[str]) -> None:
        """`found` are the ids that servers have, those of scratch servers among them. Raises Unavailable."""
        for old in database_backups.surplus(self.platform.views, limits.DATABASE_BACKUPS_KEPT):
            with suppress(Rejected):  # it is being restored
                removal = RemoveBackup(tenant_id=old.tenant_id, backup_id=old.backup_id)
                await self.platform.writer.submit(removal, actor="system")
        rows = [row for key in found if (row := database_backups.find(self.platform.views, key))]
        unused = [row for row in rows if not self._is_used(row)]
        for row in unused:
            if row.backup_id in self._left:
                logger.warning("removed: scratch server %s, which nobody used", scratch.scratch_name(row.backup_id))
                engine, installation = self.platform.engine, self.platform.installation
                await scratch.remove(engine, row.backup_id, row.tenant_id, installation)
        self._left = frozenset(row.backup_id for row in unused)

    def _is_used(self, row: BackupRow) -> bool:
        return self._is_busy(f"backup-{row.backup_id}") or self._is_busy(f"database-{row.database_id}")
