"""What is restored is what was there: the same views, the same secrets, a new epoch, and nobody back who was erased."""

from pathlib import Path

import pytest

from ahplat.backups.make import make_backup
from ahplat.backups.pairs import BackupFailed
from ahplat.backups.restore import RESTORING, Restored, Wanted, restore
from ahplat.errors import Unreadable
from events import chain
from events.tenants import TenantQuotasSet
from tests.backups.conftest import ONE, TWO
from tests.backups.platform_folder import NEVER, START_US, Folder

LATER_US = START_US + 3_600_000_000


def back_up(data: Folder, backups: Path) -> Path:
    return make_backup(data.path, backups, START_US, NEVER).folder


def bring(backup: Path, into: Folder, key_of: Folder | None = None, **wanted: object) -> Restored:
    into.path.mkdir(mode=0o700, exist_ok=True)
    key = key_of.path / "master.key" if key_of else None
    return restore(Wanted(backup, into.path, key, **wanted), LATER_US, "a test", NEVER)  # type: ignore[arg-type]


@pytest.fixture
def again(folder: Path) -> Folder:
    return Folder(folder / "again")


def test_the_views_are_the_same_and_every_secret_is_readable(data: Folder, backups: Path, again: Folder) -> None:
    pair = back_up(data, backups)
    done = bring(pair, again, data)
    assert (done.position, done.epoch, done.tenants, done.erased) == (len(data.events) + 1, 2, 2, 0)
    assert again.digests == data.digests
    assert (again.name_of(ONE), again.name_of(TWO)) == ("Ada Lovelace", "Grace Hopper")
    assert again.events[:-1] == data.events
    assert again.events[-1].type == "log.restored"
    chain.verify(chain.GENESIS, 0, again.events)
    assert not (again.path / RESTORING).exists()


def test_a_folder_of_pairs_gives_the_newest(data: Folder, backups: Path, again: Folder) -> None:
    back_up(data, backups)
    data.suspend(ONE)
    back_up(data, backups)
    bring(backups, again, data)
    assert again.digests == data.digests


def test_a_key_that_the_operator_put_there_is_used(data: Folder, backups: Path, again: Folder) -> None:
    pair = back_up(data, backups)
    again.path.mkdir()
    (again.path / "master.key").write_bytes((data.path / "master.key").read_bytes())
    (again.path / "master.key").chmod(0o600)
    assert bring(pair, again).tenants == 2


def test_without_the_right_master_key_it_is_not_done(data: Folder, backups: Path, again: Folder, folder: Path) -> None:
    pair = back_up(data, backups)
    with pytest.raises(BackupFailed, match="--master-key"):
        bring(pair, again)
    other = Folder(folder / "other").make()
    with pytest.raises(BackupFailed, match=r"another master\.key"):
        bring(pair, again, other)
    assert list(again.path.iterdir()) == []
    assert bring(pair, again, data).tenants == 2


@pytest.mark.parametrize("name", ["events.db", "keys.db", "views.db", "events.db-wal"])
def test_a_folder_that_is_not_empty_is_left_alone(data: Folder, backups: Path, again: Folder, name: str) -> None:
    pair = back_up(data, backups)
    again.path.mkdir()
    (again.path / name).write_bytes(b"mine")
    with pytest.raises(BackupFailed, match="not empty"):
        bring(pair, again, data)
    assert (again.path / name).read_bytes() == b"mine"


def test_each_restore_opens_an_epoch_that_was_not_there_before(data: Folder, backups: Path, again: Folder) -> None:
    pair = back_up(data, backups)
    assert bring(pair, again, data).epoch == 2
    for name in ("events.db", "keys.db"):
        (again.path / name).unlink()
    assert bring(pair, again, behind=True).epoch == 3, "its containers are not to be taken for those of the second"


# who was erased


def test_a_restore_of_an_older_backup_erases_again(data: Folder, backups: Path, again: Folder) -> None:
    pair = back_up(data, backups)
    data.erase(ONE)
    notes = data.path / "checkpoints" / "erased"
    done = bring(pair, again, data, erased=(notes,), behind=True)
    assert (done.tenants, done.erased) == (1, 1)
    with pytest.raises(Unreadable):
        again.name_of(ONE)
    assert again.name_of(TWO) == "Grace Hopper"
    assert [at.type for at in again.events[-2:]] == ["log.restored", "tenant.erasure_requested"]
    assert (again.path / "checkpoints" / "erased").read_text() == f"{ONE}\n"
    with pytest.raises(Unreadable):  # and once more, from a backup of what was restored
        bring(back_up(again, backups), again2 := Folder(again.path.with_name("again2")), data)
        again2.name_of(ONE)


@pytest.mark.parametrize("where", ["beside the backup", "in the folder"])
def test_notes_of_erasures_are_found(data: Folder, backups: Path, again: Folder, where: str) -> None:
    pair = back_up(data, backups)
    data.erase(ONE)
    again.path.mkdir()
    notes = {"beside the backup": backups / "erased", "in the folder": again.path / "checkpoints" / "erased"}[where]
    notes.parent.mkdir(exist_ok=True)
    notes.write_text(f"{ONE}  # by hand\n")
    assert bring(pair, again, data).erased == 1


def test_an_erasure_that_the_backup_knows_is_nothing_to_do_again(data: Folder, backups: Path, again: Folder) -> None:
    data.erase(ONE)
    done = bring(back_up(data, backups), again, data)
    assert (done.tenants, done.erased) == (1, 0)
    assert again.digests == data.digests


def test_a_tenant_with_neither_key_nor_erasure_fails_it(data: Folder, backups: Path, again: Folder) -> None:
    plain = backups / "plain"
    plain.mkdir(parents=True)
    (plain / "keys.db").write_bytes((data.path / "keys.db").read_bytes())
    data.register("3" * 32)
    (plain / "events.db").write_bytes((data.path / "events.db").read_bytes())
    with pytest.raises(BackupFailed, match=r"no key and no erasure of 1 tenants .3333.*--erased"):
        bring(plain, again, data)
    given_up = backups / "given up"
    given_up.write_text("3" * 32)
    assert bring(plain, again, data, erased=(given_up,)).erased == 1


# what is known


def test_it_does_not_go_behind_a_newer_pair_unless_told(data: Folder, backups: Path, again: Folder) -> None:
    older = back_up(data, backups)
    data.suspend(ONE)
    back_up(data, backups)
    with pytest.raises(BackupFailed, match=r"ends at position 3, but the log came to 4 .*--behind-checkpoint"):
        bring(older, again, data)
    assert bring(older, again, data, behind=True).position == 4


def test_it_does_not_go_behind_what_the_folder_or_the_operator_knows(
    data: Folder, backups: Path, again: Folder, folder: Path
) -> None:
    older = back_up(data, backups)
    data.suspend(ONE)
    last = data.events[-1]
    with pytest.raises(BackupFailed, match="says --known"):
        bring(older, again, data, known=f"{last.position} events hold, the last link is {last.link.hex()}")
    make_backup(data.path, folder / "elsewhere", START_US, NEVER)
    (again.path / "checkpoints").mkdir()
    (again.path / "checkpoints" / "known").write_bytes((data.path / "checkpoints" / "known").read_bytes())
    with pytest.raises(BackupFailed, match="checkpoints/known"):
        bring(older, again, data)


def test_another_history_of_the_same_length_is_refused(data: Folder, backups: Path, again: Folder) -> None:
    pair = back_up(data, backups)
    with pytest.raises(BackupFailed, match="another history"):
        bring(pair, again, data, known=f"2 {'ab' * 32}")
    assert bring(pair, again, data, known=f"2 {data.events[1].link.hex()}").epoch == 2


def test_what_is_known_must_be_said_in_a_form_that_is_understood(data: Folder, backups: Path, again: Folder) -> None:
    with pytest.raises(BackupFailed, match="--known is not"):
        bring(back_up(data, backups), again, data, known="yesterday")


# damage


@pytest.mark.parametrize("name", ["events.db.gz", "keys.db.gz"])
@pytest.mark.parametrize("harm", ["missing", "cut", "flipped"])
def test_a_damaged_backup_is_refused_and_nothing_is_left(
    data: Folder, backups: Path, again: Folder, name: str, harm: str
) -> None:
    path = back_up(data, backups) / name
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes({"missing": b"", "cut": content[:middle], "flipped": flipped}[harm])
    if harm == "missing":
        path.unlink()
    with pytest.raises(BackupFailed):
        bring(path.parent, again, data)
    assert {path.name for path in again.path.iterdir()} <= {"master.key"}


def test_a_log_that_was_changed_does_not_come_back(data: Folder, backups: Path, again: Folder) -> None:
    plain = backups / "plain"
    plain.mkdir(parents=True)
    data.append(ONE, TenantQuotasSet({"max_services": 5}))
    (plain / "keys.db").write_bytes((data.path / "keys.db").read_bytes())
    content = (data.path / "events.db").read_bytes()
    assert content.count(b'{"max_services":5}') == 1
    (plain / "events.db").write_bytes(content.replace(b'{"max_services":5}', b'{"max_services":9}'))
    with pytest.raises(BackupFailed, match="chain does not hold at position 4"):
        bring(plain, again, data)
