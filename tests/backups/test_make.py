"""A backup is whole, proved, private, and one of ten; where it cannot be, nothing changes."""

import errno
import gzip
from pathlib import Path

import apsw
import pytest

from ahplat import durable, erasures, limits
from ahplat.backups import pairs
from ahplat.backups.make import make_backup
from ahplat.backups.pairs import BackupFailed, Pair
from ahplat.backups.schedule import aged_out_at, last_made_at
from tests.backups.conftest import ONE, TWO
from tests.backups.platform_folder import NEVER, START_US, Folder


def made(data: Folder, backups: Path) -> Pair:
    return make_backup(data.path, backups, START_US, NEVER)


def test_a_pair_says_what_it_holds(data: Folder, backups: Path) -> None:
    about = made(data, backups).about()
    last = data.events[-1]
    assert (about.position, about.link, about.epoch, about.tenants) == (last.position, last.link.hex(), 1, 2)
    assert last_made_at(backups) == START_US // 1_000_000


def test_it_never_holds_the_master_key_and_nobody_else_may_read_it(data: Folder, backups: Path) -> None:
    pair = made(data, backups)
    key = (data.path / "master.key").read_text().strip()
    for path in pair.folder.iterdir():
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert key.encode() not in content and bytes.fromhex(key) not in content
        assert path.stat().st_mode & 0o077 == 0
    assert {path.name for path in pair.folder.iterdir()} == {"events.db.gz", "keys.db.gz", "erased", "backup.json"}
    assert pair.folder.stat().st_mode & 0o077 == 0


def test_an_erased_tenants_key_is_in_no_later_backup(data: Folder, backups: Path) -> None:
    keyring = data.keyring()
    wrapped = bytes(keyring._db.execute("SELECT wrapped FROM tenant_key WHERE tenant_id = ?", (ONE,)).get)
    keyring.close()
    before = gzip.decompress((made(data, backups).folder / "keys.db.gz").read_bytes())
    data.erase(ONE)
    pair = made(data, backups)
    after = gzip.decompress((pair.folder / "keys.db.gz").read_bytes())
    assert wrapped in before and wrapped not in after
    assert erasures.read(pair.folder / "erased") == erasures.read(backups / "erased") == {ONE}


def test_the_newest_ten_are_kept_whatever_the_clock_says(data: Folder, backups: Path) -> None:
    for n in range(limits.BACKUP_PAIRS + 2):
        make_backup(data.path, backups, START_US - n * 86_400_000_000, NEVER)
    kept = pairs.list_pairs(backups)
    assert [pair.number for pair in kept] == list(range(3, limits.BACKUP_PAIRS + 3))
    assert not list(backups.glob("*.half"))


def test_when_the_last_of_todays_pairs_is_gone_follows_from_how_often_one_is_made(data: Folder, backups: Path) -> None:
    hour_s = 3_600.0
    make_backup(data.path, backups, START_US, NEVER)
    today = pairs.list_pairs(backups)
    gone_at = aged_out_at(hour_s, START_US)
    assert gone_at
    made_s, every_s = START_US / 1e6, hour_s + limits.BACKUP_LOOK_S
    while made_s + every_s <= gone_at:
        made_s += every_s
        make_backup(data.path, backups, int(made_s * 1e6), NEVER)
        assert (today[0] in pairs.list_pairs(backups)) == (made_s + every_s <= gone_at)


def test_where_the_server_makes_no_backups_nobody_knows_when_the_last_is_gone() -> None:
    assert aged_out_at(0, START_US) is None


def test_another_backup_into_the_same_folder_is_refused_meanwhile(data: Folder, backups: Path) -> None:
    backups.mkdir()
    with durable.alone(backups / "lock") as is_alone:
        assert is_alone
        with pytest.raises(BackupFailed, match="another backup"):
            made(data, backups)
    assert made(data, backups).number == 1


def test_what_a_killed_one_left_is_swept_away(data: Folder, backups: Path) -> None:
    (backups / "ah-000001-20231114T221320Z.half" / "proof").mkdir(parents=True)
    made(data, backups)
    assert not list(backups.glob("*.half"))


def torn(path: Path) -> None:
    """A page in the middle is not what was written."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 8192 * 8192)
        file.write(b"\x5a" * 8192)


def test_a_torn_page_of_the_log_fails_it_and_the_older_pairs_stay(data: Folder, backups: Path) -> None:
    for n in range(40):
        data.register(f"{n:032x}".replace("0", "b", 1))
    first = made(data, backups)
    torn(data.path / "events.db")
    with pytest.raises(BackupFailed, match=r"damaged|chain|cannot be read|opens"):
        made(data, backups)
    assert [pair.folder for pair in pairs.list_pairs(backups)] == [first.folder]
    assert not list(backups.glob("*.half"))


@pytest.mark.parametrize("name", ["events.db", "keys.db", "master.key"])
def test_a_missing_file_is_named(data: Folder, backups: Path, name: str) -> None:
    (data.path / name).unlink()
    with pytest.raises(BackupFailed, match=name):
        made(data, backups)
    assert pairs.list_pairs(backups) == []


def test_keys_that_this_master_does_not_open_are_no_backup(data: Folder, backups: Path) -> None:
    (data.path / "master.key").write_text("ab" * 32)
    with pytest.raises(BackupFailed, match=r"another master\.key"):
        made(data, backups)


def test_a_tenant_without_key_and_without_erasure_fails_it(data: Folder, backups: Path) -> None:
    keyring = data.keyring()
    keyring.destroy(TWO)
    keyring.close()
    with pytest.raises(BackupFailed, match=f"no key and no erasure of 1 tenants .{TWO}"):
        made(data, backups)


def test_keys_of_another_installation_do_not_belong_to_the_log(data: Folder, backups: Path, folder: Path) -> None:
    other = Folder(folder / "other").make()
    other.register(ONE)
    other.register(TWO)
    for name in ("keys.db", "master.key"):
        (other.path / name).replace(data.path / name)
    with pytest.raises(BackupFailed, match="does not open what the log holds"):
        made(data, backups)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), apsw.FullError("full")])
def test_a_full_disk_leaves_no_half_file(
    data: Folder, backups: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(path: Path, into: Path) -> None:
        into.write_bytes(b"half")
        raise error

    monkeypatch.setattr(durable, "pack", full)
    with pytest.raises(BackupFailed, match="no room"):
        made(data, backups)
    assert [path.name for path in backups.iterdir()] == ["lock"]
