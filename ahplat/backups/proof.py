"""Proves that a log and a key file are whole, and belong together.

Of the log every page, and the chain from its first event to its last. Of the keys every one, opened with the master key.
And of each tenant of the log that was not erased one sealed field: it opens with the tenant's key, or the pair is none.
"""

from pathlib import Path

import apsw
from msgspec import Struct

from ahplat.backups.pairs import BackupFailed
from ahplat.errors import Unreadable
from ahplat.sealing import KeyFileBad, Keyring
from events import chain
from events.catalog import UnknownEvent, decode
from events.database import open_reader
from events.event import wire_name
from events.log import APPLICATION_ID, read_all
from events.platform import LogCreated, LogRestored
from events.tenants import TenantErased, TenantRegistered

CHUNK = 2_000
_READ = {wire_name(event) for event in (LogCreated, LogRestored, TenantRegistered, TenantErased)}


class Log(Struct, frozen=True):
    """What a whole log says: where it ends, and the sealed name of each tenant that it does not say was erased."""

    position: int
    link: str
    installation: str
    epoch: int
    names: dict[str, bytes]


def read_log(path: Path) -> Log:
    """Reads all of it. Raises BackupFailed with the first thing that does not hold."""
    position, link, installation, epoch = 0, chain.GENESIS, "", 1
    names: dict[str, bytes] = {}
    try:
        with open_reader(path) as db:
            if db.pragma("application_id") != APPLICATION_ID:
                raise BackupFailed(f"{path} is no log")
            if (found := db.pragma("quick_check", 1)) != "ok":
                raise BackupFailed(f"{path} is damaged ({found}): use another backup")
            while events := read_all(db, position, CHUNK):
                link = chain.verify(link, position, events)
                position += len(events)
                for at in events:
                    match decode(at.type, at.data) if at.type in _READ else None:
                        case LogCreated(installation=made_as):
                            installation = made_as
                        case LogRestored(epoch=number):
                            epoch = number
                        case TenantRegistered(name=name):
                            names[at.subject] = name
                        case TenantErased():
                            names.pop(at.subject, None)
    except chain.ChainBroken as broken:
        raise BackupFailed(f"{path}: the chain does not hold at {broken}: use another backup") from broken
    except (UnknownEvent, apsw.Error) as error:
        raise BackupFailed(f"{path} cannot be read after position {position} ({error}): use another backup") from error
    if not position:
        raise BackupFailed(f"{path} holds no event")
    return Log(position, link.hex(), installation, epoch, names)


def check_keys(path: Path, master: bytes, log: Log, erased: frozenset[str]) -> int:
    """How many tenants' keys there are, all of which open. The file is written to: it is to be a copy.

    Raises BackupFailed where one does not, or a tenant that was not erased has none.
    """
    try:
        keyring = Keyring(path, master, may_make=False)
    except KeyFileBad as error:
        raise BackupFailed(str(error)) from error
    try:
        tenants = keyring.open_all()
        keyless = sorted(log.names.keys() - tenants - erased)
        if keyless:
            raise BackupFailed(
                f"no key and no erasure of {len(keyless)} tenants ({', '.join(keyless[:3])} …): the keys are older than"
                " the log, or another's. Use a pair; or name these tenants in a file for --erased to give them up"
            )
        for tenant_id, name in log.names.items():
            if tenant_id in tenants:
                keyring.unseal(tenant_id, f"tenant-{tenant_id}", "name", name)
    except (KeyFileBad, Unreadable, apsw.Error) as error:
        raise BackupFailed(f"{path} does not open what the log holds ({error}): use a pair") from error
    finally:
        keyring.close()
    return len(tenants)
