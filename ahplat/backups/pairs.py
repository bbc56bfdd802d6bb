"""Where backups lie and what they are called. A pair, a log and the keys that open it, is a folder of its own:

    ah-000012-20261125T051644Z/   events.db.gz  keys.db.gz  erased  backup.json

A folder comes into being by one rename, after its content was proved: there is no half pair. The number orders them, not
the time, for clocks are set back. The master key is never in it.
"""

import re
import shutil
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from ahplat import durable

EVENTS, KEYS, ERASED, ABOUT = "events.db", "keys.db", "erased", "backup.json"
_NAME = re.compile(r"ah-(\d{6,})-\d{8}T\d{6}Z")
_HALF = re.compile(_NAME.pattern + r"\.half")


class BackupFailed(Exception):
    """It was not done. What was expected, what was found, and the remedy, in one line."""


class About(Struct, frozen=True):
    """What a pair says of itself; `restore` believes the files instead."""

    number: int
    made_at: int  # unix seconds
    position: int
    link: str  # of the hash chain there, in hex
    epoch: int
    installation: str
    tenants: int  # whose keys are in it


class Pair(Struct, frozen=True):
    """One backup."""

    number: int
    folder: Path

    def about(self) -> About:
        """Raises BackupFailed where that cannot be read."""
        try:
            return msgspec.json.decode((self.folder / ABOUT).read_bytes(), type=About)
        except (OSError, msgspec.DecodeError) as error:
            raise BackupFailed(f"{self.folder / ABOUT} cannot be read ({error})") from error

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def name_of(number: int, now_us: int) -> str:
    """
    >>> name_of(12, 1_795_583_804_000_000)
    'ah-000012-20261125T051644Z'
    """
    return f"ah-{number:06}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_us // 1_000_000))}"


def list_pairs(folder: Path) -> list[Pair]:
    """All pairs of a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    pairs = [Pair(int(match[1]), path) for match, path in found if match]
    return sorted(pairs, key=lambda pair: (pair.number, pair.folder.name))


def newest(folder: Path) -> Pair | None:
    """The last one that was made."""
    pairs = list_pairs(folder)
    return pairs[-1] if pairs else None


def sweep(folder: Path) -> None:
    """Removes what backups that were killed have left half-way."""
    for path in folder.iterdir():
        if _HALF.fullmatch(path.name):
            shutil.rmtree(path)


def keep_newest(folder: Path, count: int) -> None:
    """Removes all but the newest; each vanishes by a rename first, so that no half pair is seen."""
    for pair in list_pairs(folder)[:-count]:
        going = pair.folder.with_name(pair.folder.name + ".half")
        durable.move(pair.folder, going)
        shutil.rmtree(going)
