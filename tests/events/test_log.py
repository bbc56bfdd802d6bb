"""What the log promises beyond what the machine of test_log_machine.py tries: what is refused, and what is damage."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from events import chain
from events.event import Event, Meta
from events.log import TAIL, EventLog, LogDamaged, VersionConflict, event_at, link_at, read_all, read_verified
from events.platform import LogRestored
from events.services import ServiceEnvUnset, ServiceRepairRequested
from events.tenants import TenantQuieted, TenantQuotasSet
from tests.events.raw import raw

INSTALLATION = "f" * 32


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "events.db"


def opened(path: Path, now_us: int = 1) -> EventLog:
    return EventLog(path, INSTALLATION, now_us)


def write(log: EventLog, stream: str, *events: Event, tenant: str = "t") -> None:
    log.begin()
    log.append(stream, list(events), "any", tenant, 2, Meta(actor="test"))
    log.commit()


def written(path: Path, events: int) -> None:
    """A closed log with so many events, the first included."""
    log = opened(path)
    write(log, "service-1", *(ServiceEnvUnset(f"V{n}") for n in range(events - 1)))
    log.close()


@pytest.mark.parametrize("gone", [4, 9])
def test_an_event_that_is_not_there_is_named_by_who_reads_with_a_check(path: Path, gone: int) -> None:
    written(path, 9)
    with raw(path) as db:
        assert [len(chunk) for chunk in read_verified(db, 0, chain.GENESIS, 9, 4)] == [4, 4, 1]
        assert [len(chunk) for chunk in read_verified(db, 5, link_at(db, 5), 8, 4)] == [3]
        db.execute("DELETE FROM event WHERE position = ?", (gone,))
        with pytest.raises(chain.ChainBroken, match=f"position {gone}: "):
            list(read_verified(db, 0, chain.GENESIS, 9, 4))
        assert (event_at(db, gone), link_at(db, gone)) == (None, b"")


# the first start


def test_a_new_log_begins_with_whose_it_is(path: Path) -> None:
    log = opened(path, now_us=7)
    (first,) = read_all(log.db, 0, 10)
    assert (first.position, first.stream, first.version, first.at_us) == (1, "log-1", 1, 7)
    assert log.installation == INSTALLATION
    log.close()


def test_a_log_stays_the_installations_that_made_it(path: Path) -> None:
    opened(path).close()
    again = EventLog(path, "0" * 32, 9)
    assert (again.installation, again.position) == (INSTALLATION, 1)
    again.close()


def test_a_log_is_nobody_elses_to_read(path: Path) -> None:
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_commit_of_the_log_is_on_the_disk(path: Path) -> None:
    log = opened(path)
    assert (log.db.pragma("synchronous"), log.db.pragma("journal_mode")) == (2, "wal")
    log.close()


def test_a_restore_opens_a_new_epoch(path: Path) -> None:
    log = opened(path)
    assert log.epoch == 1
    write(log, "log-1", LogRestored(2), tenant="")
    assert log.epoch == 2
    log.close()


# what is never done


@pytest.mark.parametrize("table", ["event", "stream", "command"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET rowid = rowid", "DELETE FROM {}"], ids=["UPDATE", "DELETE"])
def test_what_is_written_is_never_changed_or_dropped(path: Path, table: str, statement: str) -> None:
    log = opened(path)
    log.begin()
    log.remember(b"id", b"fingerprint", 1, 1, 1, b"answer")
    log.commit()
    if table == "command":  # it has no rowid
        statement = statement.replace("rowid = rowid", "at_us = 0")
    with pytest.raises(apsw.ConstraintError, match=f"{table}s are never (changed|dropped)"):
        log.db.execute(statement.format(table))
    log.close()


def test_a_conflict_adds_nothing_and_names_both_versions(path: Path) -> None:
    log = opened(path)
    write(log, "service-1", ServiceEnvUnset("A"))
    log.begin()
    with pytest.raises(VersionConflict, match=r"^service-1: expected version 2, it is at 1$") as caught:
        log.append("service-1", [ServiceEnvUnset("B")], 2, "t", 3, Meta())
    assert (caught.value.fit, caught.value.expected, caught.value.actual) == ("wrong_version", 2, 1)
    log.commit()
    assert log.position == log.last_position_in_file() == 2
    log.close()


def test_an_append_that_is_rolled_back_leaves_its_place_to_the_next(path: Path) -> None:
    log = opened(path)
    log.begin()
    log.append("service-1", [ServiceEnvUnset("A")], "any", "t", 2, Meta())
    log.rollback()
    write(log, "service-2", ServiceEnvUnset("B"))
    (_, only) = read_all(log.db, 0, 10)
    assert (only.position, only.stream, only.version) == (2, "service-2", 1)
    log.close()
    opened(path).close()  # and its chain holds


# what was answered


def test_an_answer_is_kept_for_good(path: Path) -> None:
    log = opened(path)
    log.begin()
    log.remember(b"id", b"fingerprint", 3, 4, 1, b"answer")
    log.commit()
    log.close()
    log = opened(path)
    assert log.command(b"id") == (b"fingerprint", 3, 4, b"answer")
    assert log.command(b"other") is None
    log.close()


def test_an_answer_that_is_rolled_back_was_never_given(path: Path) -> None:
    log = opened(path)
    log.begin()
    log.remember(b"id", b"fingerprint", 3, 4, 1, b"answer")
    log.rollback()
    assert log.command(b"id") is None
    log.close()


def test_a_secret_is_kept_until_it_expires_and_then_dropped(path: Path) -> None:
    log = opened(path)
    log.begin()
    log.remember_secret(b"one", 0, 100, b"secret")
    log.commit()
    assert log.command_secret(b"one", 99) == b"secret"
    assert log.command_secret(b"one", 100) is None
    log.begin()
    log.remember_secret(b"two", 100, 200, b"secret")
    log.commit()
    assert list(log.db.execute("SELECT id FROM command_secret")) == [(b"two",)]
    log.close()


# damage

FIELDS = {
    "position": "position + 1000",
    "stream": "(SELECT id FROM stream WHERE name = 'log-1')",
    "version": "version + 1000",
    "type": "type || '_'",
    "at_us": "at_us + 1",
    "tenant": "''",
    "meta": 'CAST(\'{"actor":"other"}\' AS BLOB)',
    "link": "zeroblob(32)",
}


@pytest.mark.parametrize("field", FIELDS)
def test_an_event_whose_field_was_changed_is_found_at_the_start(path: Path, field: str) -> None:
    written(path, 5)
    with raw(path) as db:
        db.execute(f"UPDATE event SET {field} = {FIELDS[field]} WHERE position = 3")
    with pytest.raises(LogDamaged, match=r"the chain does not hold at position"):
        opened(path)


@pytest.mark.parametrize("at", range(12))
def test_an_event_one_byte_of_which_was_changed_is_found_at_the_start(path: Path, at: int) -> None:
    written(path, 5)
    with raw(path) as db:
        data = bytearray(db.execute("SELECT data FROM event WHERE position = 3").get)
        data[at] ^= 1
        db.execute("UPDATE event SET data = ? WHERE position = 3", (bytes(data),))
    with pytest.raises(LogDamaged, match=r"at position 3: "):
        opened(path)


def test_a_stream_that_was_renamed_is_found_at_the_start(path: Path) -> None:
    written(path, 5)
    with raw(path) as db:
        db.execute("UPDATE stream SET name = 'service-2' WHERE name = 'service-1'")
    with pytest.raises(LogDamaged, match=r"at position 2: "):
        opened(path)


@pytest.mark.parametrize("position", [2, 3, 4])
def test_an_event_that_was_dropped_is_found_at_the_start(path: Path, position: int) -> None:
    written(path, 5)
    with raw(path) as db:
        db.execute("DELETE FROM event WHERE position = ?", (position,))
    with pytest.raises(LogDamaged, match=f"at position {position}: "):
        opened(path)


def test_two_events_in_each_others_place_are_found_at_the_start(path: Path) -> None:
    written(path, 5)
    with raw(path) as db:
        for before, after in ((3, -3), (4, 3), (-3, 4)):
            db.execute("UPDATE event SET position = ? WHERE position = ?", (after, before))
    with pytest.raises(LogDamaged, match=r"at position 3: "):
        opened(path)


@pytest.mark.parametrize("events", [1, 5])
def test_events_without_their_stream_are_found_at_the_start(path: Path, events: int) -> None:
    written(path, events)
    with raw(path) as db:
        db.execute("DELETE FROM stream")
    with pytest.raises(LogDamaged):
        opened(path)


def test_a_start_looks_at_the_tail_only_so_that_it_takes_the_same_time_however_long_the_log_is(path: Path) -> None:
    written(path, TAIL + 10)
    with raw(path) as db:
        db.execute("UPDATE event SET tenant = 'x' WHERE position = 10")
    opened(path).close()
    with raw(path) as db:
        db.execute("UPDATE event SET tenant = 'x' WHERE position = 11")
    with pytest.raises(LogDamaged, match=r"at position 11: "):
        opened(path)


def test_damage_before_the_tail_is_found_by_a_whole_verification(path: Path) -> None:
    written(path, TAIL + 10)
    with raw(path) as db:
        db.execute("UPDATE event SET tenant = 'x' WHERE position = 7")
        with pytest.raises(chain.ChainBroken) as caught:
            chain.verify(chain.GENESIS, 0, read_all(db, 0, 1000))
    assert caught.value.position == 7


@pytest.mark.parametrize("content", [b"", b"not a database, " * 1024], ids=["empty", "text"])
def test_a_file_that_is_no_database_is_no_log(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if content:
        with pytest.raises(LogDamaged, match=r"no whole log"):
            opened(path)
    else:
        opened(path).close()  # an empty file is a new log


def test_a_file_that_ends_too_early_is_no_log(path: Path) -> None:
    written(path, 400)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(LogDamaged, match=r"no whole log"):
        opened(path)


def test_another_programs_database_is_no_log(path: Path) -> None:
    path.touch()
    with raw(path) as db:
        db.execute("CREATE TABLE event (position INTEGER)")
    with pytest.raises(LogDamaged, match=r"not a log of this release"):
        opened(path)


@pytest.mark.parametrize("pragma", ["application_id = 1", "user_version = 2"], ids=["another program", "newer"])
def test_a_log_of_a_form_that_this_release_does_not_know_is_refused(path: Path, pragma: str) -> None:
    written(path, 5)
    with raw(path) as db:
        db.execute(f"PRAGMA {pragma}")
    with pytest.raises(LogDamaged, match=r"not a log of this release"):
        opened(path)


def test_a_log_that_is_refused_is_left_as_it_is(path: Path) -> None:
    written(path, 5)
    with raw(path) as db:
        db.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(LogDamaged):
        opened(path)
    assert path.read_bytes() == before


# canonical bytes


def both_ways(first: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return first, dict(reversed(first.items()))


def test_equal_events_are_equal_bytes_whatever_order_they_were_made_in(path: Path) -> None:
    one, other = both_ways({"max_services": 1, "max_disk_gb": 2})
    log = opened(path)
    write(log, "tenant-1", TenantQuotasSet(one), TenantQuotasSet(other))
    _, first, second = read_all(log.db, 0, 10)
    assert first.data == second.data == b'{"quotas":{"max_disk_gb":2,"max_services":1},"type":"tenant.quotas_set"}'
    log.close()


def test_what_is_at_its_default_is_not_written(path: Path) -> None:
    log = opened(path)
    write(log, "service-1", ServiceRepairRequested("d1"), TenantQuieted(3, []))
    _, repair, quieted = read_all(log.db, 0, 10)
    assert repair.data == b'{"deployment_id":"d1","type":"service.repair_requested"}'
    assert quieted.data == b'{"intent":3,"services":[],"type":"tenant.quieted"}'
    log.close()
