"""A log in which a newer release wrote what this one does not know: one line that says so, and nothing was changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ahplat.backups.pairs import BackupFailed
from ahplat.backups.restore import Wanted, restore
from ahplat.crashpoints import CrashPoints
from events.database import open_reader
from events.event import Event, Meta
from events.log import EventLog
from projections.views import digests, open_views
from tests.faults.harness import LAPTOP, Server
from tests.golden.opened import RELEASES, unpacked

NEWER = "ahplat 9.1.0, python 3.15.0"


class ServiceTeleported(Event, frozen=True, tag="service.teleported"):
    """Of a release to come."""


class ServiceStopRequested(Event, frozen=True, tag="tenant.registered"):
    """An event that this release knows, in a form that it does not."""


@pytest.fixture
def data() -> Iterator[Path]:
    with unpacked(RELEASES[-1]) as made:
        yield made


def with_views(data: Path) -> None:
    """As this release left them."""
    log = EventLog(data / "events.db", "", 0)
    open_views(data / "views.db", log.db, log.installation, lambda done, of: None).close()
    log.close()


def upgraded(data: Path, event: Event) -> int:
    """What a newer release wrote; its position."""
    log = EventLog(data / "events.db", "", 0)
    log.begin()
    log.append("service-1", [event], "any", "", log.last_us, Meta(actor="system", build=NEWER))
    log.commit()
    log.close()
    return log.position


def rows(data: Path) -> dict[str, dict[str, str]]:
    """Of each database all that it holds."""
    return {path.name: digests(open_reader(path)) for path in sorted(data.glob("*.db"))}


def refused(data: Path) -> str:
    """The line that a server says."""
    before = rows(data)
    server = Server(data, *LAPTOP, "--accept-clock")
    try:
        assert server.launch().wait() == 2
        line = server.said.read_text().splitlines()[-1]
    finally:
        server.wipe()
    assert "Traceback" not in server.said.read_text()
    assert rows(data) == before
    return line


@pytest.mark.embedded
@pytest.mark.parametrize("views", ["this release's", "none"])
def test_an_event_that_is_not_known_is_named_with_who_wrote_it(data: Path, views: str) -> None:
    if views != "none":
        with_views(data)
    position = upgraded(data, ServiceTeleported())
    line = refused(data)
    assert f"position {position} is service.teleported, written by {NEWER}" in line
    assert "Start that release again, or go back to the backup from before it" in line


@pytest.mark.embedded
def test_so_is_an_event_in_a_form_that_is_not_known(data: Path) -> None:
    with_views(data)
    upgraded(data, ServiceStopRequested())
    assert "tenant.registered is not an event of this release" in refused(data)


def test_a_restore_of_it_is_refused_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    upgraded(data, ServiceTeleported())
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(BackupFailed, match=r"newer release.*service\.teleported.*restore it with that one"):
        restore(Wanted(data, into, data / "master.key"), 0, "test", CrashPoints())
    assert list(into.iterdir()) == []
