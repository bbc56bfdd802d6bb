"""Writes the golden log of this release: `python -m tests.golden.write`.

A golden log is what this release leaves on a disk, kept for every later one to open: log and keys, packed as a backup has
them, under tests/golden/VERSION. In it every event type occurs. The tests' story is told first, with fields sealed by
real keys; then a real server goes on from there and serves a tenant, whose key still opens the door; what no one told is
added last, about nobody. Of a release that is out the log is never written again: a log on somebody's disk does not
change either. Until then (no tag in git) it is written again whenever an event type is added.
"""

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from ahplat import durable
from ahplat.clock import SystemClock
from ahplat.sealing import Keyring
from events.catalog import CATALOG
from events.database import copy_database
from events.event import Event, Meta, Recorded
from events.log import EventLog
from tests.commands.given import OTHER_TENANT, TENANT, World, a_world
from tests.events.samples import sample
from tests.faults.harness import Server
from tests.folders import memory_folder
from tests.projections import story

HERE = Path(__file__).parent
TREE = Path(__file__).parents[2]
MASTER_KEY = bytes(range(32)).hex()  # of golden logs alone
FILES = ("events.db", "keys.db")
NOBODY = "0" * 32
SEALED = ("name", "email", "password", "detail", "tail", "command", "url", "source")


class SealedWorld(World):
    """A world whose secrets are sealed, as the API seals them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now_us = SystemClock().now_us() - 3_600_000_000  # by the end of the story it is not yet now
        (folder / "master.key").write_text(MASTER_KEY)
        (folder / "master.key").chmod(0o600)
        self.keyring = Keyring(folder / "keys.db", bytes.fromhex(MASTER_KEY))
        for tenant in (TENANT, OTHER_TENANT):
            self.keyring.create(tenant)

    def append(self, stream: str, events: list[Event], tenant_id: str) -> list[Recorded]:
        return super().append(stream, [self._sealed(stream, event, tenant_id) for event in events], tenant_id)

    def _sealed(self, stream: str, event: Event, tenant_id: str) -> Event:
        found: dict[str, Any] = {name: getattr(event, name, None) for name in SEALED}
        return msgspec.structs.replace(
            event,
            **{
                name: self.keyring.seal(tenant_id, stream, name, value)
                for name, value in found.items()
                if isinstance(value, bytes) and value
            },
        )

    def close(self) -> None:
        self.keyring.close()
        super().close()


def main() -> None:
    """Writes it."""
    version = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"]
    with memory_folder() as made:
        data = made / "data"
        with a_world(SealedWorld) as told:
            story.tell()
            told.keyring.erase(OTHER_TENANT)  # of whom the story says that he was erased
            shutil.copytree(told.folder, data)
        data.chmod(0o700)
        key = serve(data)
        add_the_rest(data)
        into = HERE / version
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        for name in FILES:
            copy_database(data / name, made / name)
            durable.pack(made / name, into / f"{name}.gz")
            (into / f"{name}.gz").chmod(0o644)
        (into / "about.json").write_text(json.dumps({"api_key": key, "service": "shop"}, indent=1) + "\n")
    print(f"{into} is written", file=sys.stderr)


def serve(data: Path) -> str:
    """A server of this release goes on from the story, and serves a tenant; returns its key."""
    server = Server(data).start()
    try:
        key = server.register("golden")
        body = {"name": "shop", "image": "ah/hello", "env": {"GREETING": "hi"}}
        made = server.ask("POST", "/v1/services", body, key=key, Prefer="wait=20", Idempotency_Key="golden")
        assert made.json["status"] == "running", made
        path = f"/v1/services/{made.json['id']}"
        assert server.ask("POST", f"{path}/exec", {"command": ["true"]}, key=key, Idempotency_Key="run").status == 200
        assert server.ask("POST", f"{path}/stop", key=key, Prefer="wait=20").status == 200
        assert server.end() == 0, server.said.read_text()
        return key
    finally:
        server.wipe()


def add_the_rest(data: Path) -> None:
    """One event of every type that did not occur, about nobody."""
    log = EventLog(data / "events.db", "", 0)
    there = {name for (name,) in log.db.execute("SELECT DISTINCT type FROM event")}
    log.begin()
    for name in sorted(CATALOG.keys() - there):
        stream = f"{name.partition('.')[0]}-{NOBODY}"
        log.append(stream, [sample(CATALOG[name])], "any", "", log.last_us, Meta(actor="test"))
    log.commit()
    log.close()


if __name__ == "__main__":
    main()
