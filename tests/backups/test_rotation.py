"""A new master key: everything goes on, the old one opens nothing, and a kill at any step is made good."""

from contextlib import suppress
from pathlib import Path

import pytest

from ahplat.backups.make import make_backup
from ahplat.backups.pairs import BackupFailed
from ahplat.crashpoints import ROTATION, CrashPoints
from ahplat.rotation import NEXT, finish_rotation, name_of_old, rotate
from ahplat.sealing import KeyFileBad, Keyring, read_master_key
from tests.backups.conftest import ONE, TWO
from tests.backups.platform_folder import NEVER, START_US, Folder


def master(data: Folder) -> bytes:
    return read_master_key(data.path / "master.key", may_make=False)


def test_tenants_and_indexes_go_on_as_they_were(data: Folder) -> None:
    old, keyring = master(data), data.keyring()
    index = keyring.email_index("ada@example.org")
    keyring.close()
    before = data.content
    count, kept = rotate(data.path, NEVER)
    assert count == 2 + 8  # tenants, and the platform's own
    assert master(data) != old
    assert read_master_key(data.path / kept, may_make=False) == old
    assert (data.name_of(ONE), data.name_of(TWO)) == ("Ada Lovelace", "Grace Hopper")
    keyring = data.keyring()
    assert keyring.email_index("ada@example.org") == index
    keyring.close()
    assert data.content != before
    assert (data.path / "master.key").stat().st_mode & 0o777 == 0o600
    assert not (data.path / NEXT).exists()


def test_the_old_key_opens_nothing_any_more(data: Folder) -> None:
    old = master(data)
    keyring = data.keyring()
    wrapped = [bytes(row[0]) for row in keyring._db.execute("SELECT wrapped FROM tenant_key")]
    keyring.close()
    rotate(data.path, NEVER)
    with pytest.raises(KeyFileBad, match=r"another master\.key"):
        Keyring(data.path / "keys.db", old)
    assert not any(envelope in data.content for envelope in wrapped), "not in free pages either"


def test_keys_that_do_not_open_are_not_wrapped_anew(data: Folder) -> None:
    (data.path / "master.key").write_text("ab" * 32)
    before = (data.path / "keys.db").read_bytes()
    with pytest.raises(KeyFileBad, match=r"another master\.key"):
        rotate(data.path, NEVER)
    assert (data.path / "keys.db").read_bytes() == before
    assert not (data.path / NEXT).exists()


class Killed(CrashPoints):
    """Ends what reaches the point, as a kill does."""

    def reached(self, point: str) -> None:
        if point == self._point:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("point", "says"), [("key-written", ""), ("wrapped-anew", "run `ah rotate-key` again")])
def test_a_backup_after_a_rotation_that_was_killed_says_what_to_do(
    data: Folder, backups: Path, point: str, says: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        rotate(data.path, Killed(point, ROTATION))
    said = ""
    try:
        make_backup(data.path, backups, START_US, NEVER)
    except BackupFailed as failed:
        said = str(failed)
    assert (says in said) and bool(said) == bool(says)
    rotate(data.path, NEVER)
    make_backup(data.path, backups, START_US, NEVER)


def test_no_key_with_which_a_backup_was_made_is_lost_however_often_it_is_rotated(data: Folder, backups: Path) -> None:
    keys = [master(data)]
    for point in ("key-in-place", "wrapped-anew", ""):
        with suppress(KeyboardInterrupt):
            rotate(data.path, Killed(point, ROTATION))
        finish_rotation(data.path)
        keys.append(master(data))
        make_backup(data.path, backups, START_US, NEVER)
    files = [data.path / name_of_old(key) for key in keys[:-1]]
    assert [read_master_key(file, may_make=False) for file in files] == keys[:-1]
    assert sorted(file.name for file in data.path.glob("master.key*")) == sorted(
        ["master.key", *(f.name for f in files)]
    )


@pytest.mark.parametrize("content", ["", "half a k", "cd" * 32])
def test_a_next_key_that_wraps_nothing_means_nothing(data: Folder, content: str) -> None:
    old = master(data)
    (data.path / NEXT).write_text(content)
    (data.path / NEXT).chmod(0o600)
    assert not finish_rotation(data.path)
    assert master(data) == old
    rotate(data.path, NEVER)
    assert data.name_of(ONE) == "Ada Lovelace"


def test_a_folder_without_keys_is_named(folder: Path) -> None:
    with pytest.raises(KeyFileBad, match=r"keys\.db is missing"):
        rotate(folder, NEVER)
