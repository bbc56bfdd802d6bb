"""What may be said of databases' servers: that one crashed, is not what it should be, or did not come to answer.

As with services, CRASHES within CRASH_WINDOW_S end the trying; before that each crash is followed by a start after a
longer wait.
"""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.commands.databases import STREAM, DatabaseCommand, load_there
from ahplat.commands.effects import WorkCommand, check_fence, load_work
from ahplat.errors import Rejected
from events.databases import (
    DatabaseCrashed,
    DatabaseDrifted,
    DatabaseGivenUp,
    DatabaseStartFailed,
    DatabaseStartRequested,
    DatabaseStopRequested,
)
from events.event import Event
from projections import databases
from projections.databases import DatabaseRow
from projections.todo import TodoRow


class ServerState(Struct, frozen=True):
    """The database, how much work on it is open, and how often it crashed within the window."""

    database: DatabaseRow
    open: int
    crashes: int


def load_server(views: Connection, command: "ReportDatabaseCrash | ReportDatabaseDrift") -> ServerState:
    state = load_there(views, command)
    since_us = command.seen_us - limits.CRASH_WINDOW_S * 1_000_000
    return ServerState(state.database, len(state.open), databases.crashes_since(views, command.database_id, since_us))


def after_crash(crashes: int, seen_us: int) -> list[Event]:
    """What follows the `crashes`-th crash within the window: a start after a wait, or the end of trying."""
    if crashes >= limits.CRASHES:
        return [DatabaseGivenUp(crashes)]
    wait_s = limits.CRASH_BACKOFF_S[min(crashes, len(limits.CRASH_BACKOFF_S)) - 1]
    return [DatabaseStartRequested(seen_us + wait_s * 1_000_000)]


class ReportDatabaseCrash(DatabaseCommand, frozen=True, kw_only=True):
    """The server that should run was seen to have ended by itself."""

    instance: str
    seen_us: int
    exit_code: int | None
    oom_killed: bool
    tail: bytes


def report_crash(state: ServerState, command: ReportDatabaseCrash) -> list[Event]:
    if state.open or state.database.container_id != command.instance:
        raise Rejected("outcome_refused", "the server is not the one that should run, or work on it is under way")
    crashes = state.crashes + 1
    crashed = DatabaseCrashed(
        instance=command.instance,
        crash_count=crashes,
        exit_code=command.exit_code,
        oom_killed=command.oom_killed,
        tail=command.tail,
        memory_mb=state.database.memory_mb if command.oom_killed else 0,
    )
    return [crashed, *after_crash(crashes, command.seen_us)]


class ReportDatabaseDrift(DatabaseCommand, frozen=True, kw_only=True):
    """What runs is not what should run."""

    seen_us: int
    drifted: DatabaseDrifted


def report_drift(state: ServerState, command: ReportDatabaseDrift) -> list[Event]:
    if state.open:
        raise Rejected("outcome_refused", "work on the database is under way: what was seen may be its doing")
    wanted: Event = DatabaseStartRequested() if state.database.desired == "running" else DatabaseStopRequested()
    return [command.drifted, wanted]


class FailDatabaseStart(WorkCommand, frozen=True, kw_only=True):
    """A database did not come to answer. It is tried again where it ever did, as after a crash."""

    database_id: str
    attempt: int
    seen_us: int
    failure: DatabaseStartFailed


class StartState(Struct, frozen=True):
    """The open start, the database, and how often it crashed within the window."""

    work: TodoRow
    ran: bool
    crashes: int


def load_start(views: Connection, command: FailDatabaseStart) -> StartState:
    since_us = command.seen_us - limits.CRASH_WINDOW_S * 1_000_000
    row = databases.find(views, command.database_id)
    return StartState(
        work=load_work(views, command),
        ran=row is not None and bool(row.ran),
        crashes=databases.crashes_since(views, command.database_id, since_us),
    )


def fail_start(state: StartState, command: FailDatabaseStart) -> list[Event]:
    check_fence(state.work, command.attempt)
    return [command.failure, *(after_crash(state.crashes + 1, command.seen_us) if state.ran else ())]


COMMANDS: dict[type[Command], Decision] = {
    ReportDatabaseCrash: Decision(load_server, report_crash, STREAM),
    ReportDatabaseDrift: Decision(load_server, report_drift, STREAM),
    FailDatabaseStart: Decision(load_start, fail_start, STREAM),
}
