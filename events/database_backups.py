"""What happened to backups of databases: one was asked for, taken, proved, and removed. Each has a stream of its own.

A backup counts once it is verified: restored into a server of its own that was then queried. What was taken and could not
be restored has failed.
"""

from events.event import Event, Intent, Outcome


class DatabaseBackupRequested(Intent, frozen=True, tag="database_backup.requested"):
    """What is in the database is to be kept."""

    database_id: str


class DatabaseBackupTaken(Outcome, Intent, frozen=True, tag="database_backup.taken"):
    """It lies in a sealed file, of which these are the size and the hash: that it can be restored is to be proved."""

    size: int
    sha256: str
    roles: bytes = b""  # sealed: the SQL that makes those that it may name, where they are missing


class DatabaseBackupVerified(Outcome, frozen=True, tag="database_backup.verified"):
    """It was restored into a server of its own, which answered: so many tables and rows, or keys, were in it."""

    tables: int = 0
    rows: int = 0
    keys: int = 0


class DatabaseBackupFailed(Outcome, frozen=True, tag="database_backup.failed"):
    """It was not taken, or could not be restored: it is of no use."""

    code: str
    detail: bytes = b""  # sealed


class DatabaseBackupRemoveRequested(Intent, frozen=True, tag="database_backup.remove_requested"):
    """Its file is to go, and whatever was made of it."""


class DatabaseBackupRemoved(Outcome, frozen=True, tag="database_backup.removed"):
    """Nothing of it is left."""


EVENTS: tuple[type[Event], ...] = (
    DatabaseBackupRequested,
    DatabaseBackupTaken,
    DatabaseBackupVerified,
    DatabaseBackupFailed,
    DatabaseBackupRemoveRequested,
    DatabaseBackupRemoved,
)
