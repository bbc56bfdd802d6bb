"""A server's folder without a server: real log and real keys, and tenants whose fields are sealed as the API seals them."""

import os
from pathlib import Path

from ahplat.crashpoints import CrashPoints
from ahplat.rotation import finish_rotation
from ahplat.sealing import Keyring, read_master_key
from events.catalog import decode
from events.database import open_reader
from events.event import Event, Meta, Recorded
from events.log import EventLog, read_all
from events.tenants import TenantErased, TenantErasureRequested, TenantRegistered, TenantSuspended
from projections.views import digests, open_views

START_US = 1_700_000_000_000_000
INSTALLATION = "f" * 32
NEVER = CrashPoints()


class Folder:
    """`register` and `append` write as the server's writer does; every call opens the files anew and closes them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> "Folder":
        """A new log with its keys."""
        self.path.mkdir(mode=0o700)
        read_master_key(self.path / "master.key", may_make=True)
        EventLog(self.path / "events.db", INSTALLATION, START_US).close()
        self.keyring().close()
        return self

    def keyring(self) -> Keyring:
        finish_rotation(self.path)
        return Keyring(self.path / "keys.db", read_master_key(self.path / "master.key", may_make=False))

    def append(self, tenant: str, *events: Event) -> list[Recorded]:
        log = EventLog(self.path / "events.db", INSTALLATION, START_US)
        try:
            log.begin()
            recorded = log.append(f"tenant-{tenant}", list(events), "any", tenant, log.last_us + 1, Meta(actor="test"))
            log.commit()
            return recorded
        finally:
            log.close()

    def register(self, tenant: str, name: str = "Ada") -> None:
        keyring = self.keyring()
        keyring.create(tenant)
        sealed = {field: keyring.seal(tenant, f"tenant-{tenant}", field, name.encode()) for field in ("name", "email")}
        index = keyring.email_index(f"{name}@{tenant}")
        keyring.close()
        subnet = f"10.128.{int(tenant[0], 16)}.0/26"
        self.append(tenant, TenantRegistered(**sealed, email_index=index, label=f"t-{tenant[0]}", subnet=subnet))

    def suspend(self, tenant: str) -> None:
        self.append(tenant, TenantSuspended())

    def erase(self, tenant: str) -> None:
        """What the effect does: a note, no key, an outcome."""
        intent = self.append(tenant, TenantErasureRequested())[0].position
        keyring = self.keyring()
        keyring.erase(tenant)
        keyring.close()
        self.append(tenant, TenantErased(intent))

    def name_of(self, tenant: str) -> str:
        """As it is read. Raises Unreadable."""
        event = next(at for at in self.events if at.stream == f"tenant-{tenant}" and at.type == "tenant.registered")
        registered = decode(event.type, event.data)
        assert isinstance(registered, TenantRegistered)
        keyring = self.keyring()
        try:
            return keyring.unseal(tenant, f"tenant-{tenant}", "name", registered.name).decode()
        finally:
            keyring.close()

    @property
    def events(self) -> list[Recorded]:
        with open_reader(self.path / "events.db") as log:
            return read_all(log, 0, 100_000)

    @property
    def digests(self) -> dict[str, str]:
        """Of the views that the log gives."""
        path = self.path.with_name(self.path.name + ".views.db")
        with open_reader(self.path / "events.db") as log:
            views = open_views(path, log, INSTALLATION, lambda done, of: None)
            try:
                return digests(views.db)
            finally:
                views.close()
                for file in path.parent.glob(path.name + "*"):
                    file.unlink()

    @property
    def content(self) -> bytes:
        """Every byte of every file in it."""
        return b"".join(
            (Path(folder) / name).read_bytes() for folder, _, names in os.walk(self.path) for name in sorted(names)
        )
