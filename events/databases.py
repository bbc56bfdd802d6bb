"""What happened to databases: what was asked for, what became of it, and what was found.

A database that is deleted keeps its volume for a while: `database.deleted` is the outcome of the deletion, and the
intent to remove the volume at `due_us`, unless the database comes back before that.
"""

from events.event import Event, Intent, Outcome


class DatabaseCreateRequested(Intent, frozen=True, tag="database.create_requested"):
    """A database is to run, by name and label, at an address of its own in the tenant's network."""

    name: str
    label: str
    kind: str  # postgres or redis
    image: str
    memory_mb: int
    cpu_milli: int
    port: int
    db_name: str
    username: str
    password: bytes  # sealed
    address: str


class DatabaseStartRequested(Intent, frozen=True, tag="database.start_requested"):
    """The database is to run again, on the volume that it has; not before `due_us`."""

    due_us: int = 0


class DatabaseStarted(Outcome, frozen=True, tag="database.started"):
    """The database answered a query at `host` and `port`, where the platform reaches it."""

    instance: str
    host: str
    port: int
    digest: str
    pinned: str


class DatabaseStartFailed(Outcome, frozen=True, tag="database.start_failed"):
    """It did not come to answer a query. `tail` is the last of its log."""

    code: str
    detail: bytes = b""  # sealed
    tail: bytes = b""  # sealed


class DatabaseDrifted(Event, frozen=True, tag="database.drifted"):
    """What runs is not what should run: `finding` says how.

    It is missing, exited, created, paused, moved, renamed, foreign_epoch or stray.
    """

    finding: str
    instance: str = ""


class DatabaseCrashed(Event, frozen=True, tag="database.crashed"):
    """The server that should run ended by itself. `crash_count` counts the crashes of the window."""

    instance: str
    crash_count: int
    exit_code: int | None = None
    oom_killed: bool = False
    tail: bytes = b""  # sealed
    memory_mb: int = 0  # that it might use, where it was killed for using more


class DatabaseGivenUp(Event, frozen=True, tag="database.given_up"):
    """It crashed too often in too short a time: it is not started again until somebody asks for it."""

    crash_count: int


class DatabaseStopRequested(Intent, frozen=True, tag="database.stop_requested"):
    """Nothing of the database is to run; its volume stays."""


class DatabaseStopped(Outcome, frozen=True, tag="database.stopped"):
    """Nothing of the database runs."""

    removed: list[str]


class DatabaseDeleteRequested(Intent, frozen=True, tag="database.delete_requested"):
    """The database is gone for its tenant; its name is free. Its volume is kept until `purge_us`."""

    purge_us: int


class DatabaseDeleted(Outcome, Intent, frozen=True, tag="database.deleted"):
    """Nothing of the database runs. Its volume is to be removed at `due_us`, unless the database comes back."""

    removed: list[str]
    due_us: int


class DatabaseUndeleted(Outcome, Intent, frozen=True, tag="database.undeleted"):
    """The database came back within the time that its volume was kept, and is to run again."""


class DatabasePurgeRequested(Outcome, Intent, frozen=True, tag="database.purge_requested"):
    """The volume that was kept is to be removed now."""


class DatabasePurged(Outcome, frozen=True, tag="database.purged"):
    """Volume and all are gone for good."""


class DatabaseWorkSuperseded(Outcome, frozen=True, tag="database.work_superseded"):
    """Something newer was accepted: this work is no longer wanted."""


class DatabaseRestoreRequested(Intent, frozen=True, tag="database.restore_requested"):
    """What is in the database is to be what is in the backup. It goes on serving what it has until that is whole."""

    backup_id: str


class DatabaseRestored(Outcome, frozen=True, tag="database.restored"):
    """The database holds what the backup does, and nothing else."""

    backup_id: str


class DatabaseRestoreFailed(Outcome, frozen=True, tag="database.restore_failed"):
    """The database is as it was."""

    backup_id: str
    code: str
    detail: bytes = b""  # sealed


class DatabaseConnectionStringRead(Event, frozen=True, tag="database.connection_string_read"):
    """Somebody was told how to connect, password and all; the event's actor says who."""


EVENTS = (
    DatabaseCreateRequested,
    DatabaseStartRequested,
    DatabaseStarted,
    DatabaseStartFailed,
    DatabaseDrifted,
    DatabaseCrashed,
    DatabaseGivenUp,
    DatabaseStopRequested,
    DatabaseStopped,
    DatabaseDeleteRequested,
    DatabaseDeleted,
    DatabaseUndeleted,
    DatabasePurgeRequested,
    DatabasePurged,
    DatabaseWorkSuperseded,
    DatabaseRestoreRequested,
    DatabaseRestored,
    DatabaseRestoreFailed,
    DatabaseConnectionStringRead,
)
