"""What is read of the log often is found by an index, in its order, however long the log is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from events.event import Meta
from events.log import EventLog, head, read_all, read_consequences, read_stream, read_tenant, read_tenant_backwards
from events.services import ServiceEnvUnset
from tests.events.plans import plans, reading_everything


@pytest.fixture
def log(folder: Path) -> Iterator[EventLog]:
    log = EventLog(folder / "events.db", "me", 1)
    log.begin()
    log.append("service-1", [ServiceEnvUnset("A")], "any", "t", 2, Meta())
    log.commit()
    log.close()
    log = EventLog(folder / "events.db", "me", 1)  # which remembers no stream
    yield log
    log.close()


HOT: dict[str, tuple[Callable[[EventLog], Any], str]] = {
    "the version of a stream": (
        lambda log: log.version("service-1"),
        "SEARCH event USING COVERING INDEX sqlite_autoindex_event_1 (stream=?)",
    ),
    "the number of a stream": (lambda log: log.version("service-1"), "sqlite_autoindex_stream_1 (name=?)"),
    "all that comes after a position": (
        lambda log: read_all(log.db, 5, 9),
        "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)",
    ),
    "a tenant's events": (
        lambda log: read_tenant(log.db, "t", 5, 9),
        "SEARCH e USING INDEX event_of_tenant (tenant=? AND position>?)",
    ),
    "a tenant's events backwards": (
        lambda log: read_tenant_backwards(log.db, "t", 5, 9),
        "SEARCH e USING INDEX event_of_tenant (tenant=? AND position<?)",
    ),
    "what a tenant's events followed from": (
        lambda log: read_consequences(log.db, "t", 5, 9),
        "SEARCH event USING INDEX event_of_tenant (tenant=? AND position>?)",
    ),
    "a stream": (
        lambda log: read_stream(log.db, "service-1", 5, 9),
        "SEARCH e USING INDEX sqlite_autoindex_event_1 (stream=? AND version>?)",
    ),
    "the last position": (lambda log: head(log.db), "SEARCH event"),
    "what a command was answered": (lambda log: log.command(b"id"), "SEARCH command USING PRIMARY KEY (id=?)"),
    "the secret of an answer": (
        lambda log: log.command_secret(b"id", 1),
        "SEARCH command_secret USING PRIMARY KEY (id=?)",
    ),
}


@pytest.mark.parametrize("what", HOT)
def test_what_is_read_often_is_found_by_an_index(log: EventLog, what: str) -> None:
    call, by = HOT[what]
    steps = plans(log.db, lambda: call(log))
    assert any(by in step for step in steps), steps
    assert not reading_everything(steps), steps
