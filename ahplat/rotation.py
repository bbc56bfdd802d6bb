"""A new master key: all keys are wrapped with it anew, in one transaction, and it takes the old one's place.

    master.key.next is written and synced      killed here: keys.db opens with master.key, the next one is made anew
    keys.db is wrapped anew, committed         killed here: keys.db opens with master.key.next, which is put in place
    master.key.next is renamed to master.key   done

The key that goes stays beside it, under a name of its own, for the backups that were made with it: nobody else has it.
So at any moment one of the two files opens keys.db, and which one it is says what is left to do. Whoever comes next, a
server that starts or another rotation, does that first. What is sealed does not change: tenants' keys stay what they are.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from ahplat import durable
from ahplat.crashpoints import CrashPoints
from ahplat.sealing import KeyFileBad, Keyring, read_master_key, write_master_key

NEXT = "master.key.next"


def is_half_done(data_dir: Path) -> bool:
    """Whether keys.db is wrapped with the next master key, which is not in its place."""
    following = data_dir / NEXT
    if not following.exists() or not (data_dir / "keys.db").exists():
        return False
    try:
        Keyring(data_dir / "keys.db", read_master_key(following, may_make=False), may_make=False).close()
    except KeyFileBad:  # it was not wrapped yet: the file means nothing
        return False
    return True


def finish_rotation(data_dir: Path) -> bool:
    """Puts the next master key in place where keys.db is wrapped with it. The folder's lock is held by the caller."""
    if not is_half_done(data_dir):
        return False
    _put_in_place(data_dir)
    return True


def name_of_old(key: bytes) -> str:
    """Under which a master key that was replaced is kept.

    >>> name_of_old(bytes(32))
    'master.key.66687aad'
    """
    return f"master.key.{hashlib.sha256(key).hexdigest()[:8]}"


def _put_in_place(data_dir: Path) -> None:
    master = data_dir / "master.key"
    with suppress(KeyFileBad, FileExistsError):  # what is no key opens no backup
        os.link(master, data_dir / name_of_old(read_master_key(master, may_make=False)))
    durable.move(data_dir / NEXT, master)


def rotate(data_dir: Path, crash: CrashPoints) -> tuple[int, str]:
    """Makes a new master key and wraps all keys with it; returns how many, and the name of the old one's file.

    Raises KeyFileBad, Unavailable, OSError.
    """
    if not (data_dir / "keys.db").exists():
        raise KeyFileBad(f"{data_dir / 'keys.db'} is missing: is this --data-dir the server's?")
    finish_rotation(data_dir)
    old = read_master_key(data_dir / "master.key", may_make=False)
    keyring = Keyring(data_dir / "keys.db", old, may_make=False)
    try:
        keyring.open_all()
        following = data_dir / NEXT
        write_master_key(following)
        crash.reached("key-written")
        count = keyring.wrap_anew(read_master_key(following, may_make=False))
    finally:
        keyring.close()
    crash.reached("wrapped-anew")
    _put_in_place(data_dir)
    crash.reached("key-in-place")
    return count, name_of_old(old)
