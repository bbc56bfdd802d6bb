"""Traefik's folder: one file for each service, and nothing else; a projection of the routes view.

A file is written beside the folder on the same file system, synced, and renamed in, so that Traefik sees all of it or
nothing. What is a service's and is not what it was told last has been changed by somebody: it is written again, and
said. What is nobody's is moved out, to where Traefik does not look: one file that it cannot read would block them all.
"""

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ahplat import limits
from ahplat.errors import CannotStart, Unavailable
from ahplat.routers.dynamic import Entry, Shown, name_of, transport_of, urls_of, without_a_host_twice, written
from ahplat.routers.router import Finding, Route, RouterStatus
from ahplat.routers.traefik import TraefikApi

logger = logging.getLogger("ahplat.router")

SUFFIX = ".yml"


class FilesRouter:
    """See the module. `folder` is what Traefik watches (`providers.file.directory`)."""

    name = "files"

    def __init__(self, folder: Path, api: TraefikApi, entry: Entry) -> None:
        self.folder = folder
        self.staging = folder.with_name(folder.name + ".staging")
        self.foreign = folder.with_name(folder.name + ".foreign")
        self.api = api
        self.entry = entry
        self._led: dict[str, tuple[int, Route]] = {}  # service → what a switch told ahead of the views
        self._told: dict[str, bytes | None] = {}  # service → its file as it was written last, None for none
        self._writing = asyncio.Lock()
        self._lock: IO[str] | None = None  # one server a folder

    async def status(self) -> RouterStatus:
        try:
            version = await self.api.version()
        except Unavailable as error:
            return RouterStatus(self.name, False, detail=error.detail)
        return RouterStatus(self.name, True, version, f"Traefik, told by files in {self.folder}")

    async def lead(self, intent: int, route: Route) -> None:
        self._led[route.service_id] = (intent, route)
        async with self._writing:
            await asyncio.to_thread(self._lead, route)

    def let_go(self, intent: int) -> str | None:
        for service_id, (led_by, _) in self._led.items():
            if led_by == intent:
                del self._led[service_id]
                return service_id
        return None

    async def shows(self, route: Route) -> bool:
        found = await self.api.service(f"{name_of(route.service_id)}@file")
        return found == (Shown(urls_of(route), transport_of(route)) if route.hosts else None)

    async def follow(self, read: Callable[[], list[Route]], everything: bool) -> list[tuple[str, Finding]]:
        async with self._writing:  # what is read in here is not older than what was told before
            led = {service_id: route for service_id, (_, route) in self._led.items()}
            return await asyncio.to_thread(self._follow, read(), led, everything)

    def labels(self, route: Route, port: int, network: str) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        await self.api.close()
        if self._lock:
            self._lock.close()

    # in a thread, one at a time

    def prepare(self) -> None:
        """Makes the folders and takes hold of them. Raises CannotStart."""
        try:
            for folder in (self.folder, self.staging):
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock = (self.staging / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for half in self.staging.glob(f"*{SUFFIX}"):
                half.unlink()
            probe = self.staging / "probe"
            probe.touch()
            probe.rename(self.folder / "probe")
            (self.folder / "probe").unlink()
        except BlockingIOError as error:
            raise CannotStart(f"another server uses {self.folder}: choose another --traefik-config-dir") from error
        except OSError as error:
            raise CannotStart(
                f"{self.folder} cannot be used for Traefik ({error.strerror}): it and its folder have to be writable, and"
                " on one file system; choose another --traefik-config-dir"
            ) from error

    def _follow(self, routes: list[Route], led: dict[str, Route], everything: bool) -> list[tuple[str, Finding]]:
        if everything:
            known = {route.service_id for route in routes}
            routes = [*routes, *(route for service_id, route in led.items() if service_id not in known)]
        routes, twice = without_a_host_twice([led.get(route.service_id, route) for route in routes])
        for host in twice:
            logger.error("%s is told twice: it goes to the first that has it", host)
        found = [finding for route in routes if (finding := self._told_again(route))]
        if everything:
            self._move_out({f"{name_of(route.service_id)}{SUFFIX}" for route in routes if route.hosts}.__contains__)
        return found

    def _lead(self, route: Route) -> None:
        self._tell(route)
        self._move_out(
            lambda name: name.startswith(name_of(""))
        )  # what a stranger put there may keep it from being read

    def _told_again(self, route: Route) -> tuple[str, Finding] | None:
        """Has the file be what the route says; what was found where somebody else had changed it."""
        last = self._told.get(route.service_id)
        on_disk = self._read(route.service_id)
        self._tell(route)
        if last is None or on_disk == last:
            return None
        return route.service_id, "missing" if on_disk is None else "changed"

    def _tell(self, route: Route) -> None:
        """Writes, or takes away, the file of one service; nothing happens where it is so already."""
        path = self._path(route.service_id)
        try:
            data = written(route, self.entry) if route.hosts else None
        except ValueError as error:  # one that Traefik cannot read would hold up all others
            logger.error("the route of %s is held back: %s", route.service_id, error)
            return
        try:
            if data is None:
                path.unlink(missing_ok=True)
            elif self._read(route.service_id) != data:
                self._put(path, data)
        except OSError as error:
            raise Unavailable("router_away", f"{path} cannot be written ({error.strerror})") from error
        self._told[route.service_id] = data

    def _put(self, path: Path, data: bytes) -> None:
        half = self.staging / path.name
        with half.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)  # whatever our umask: Traefik is another user, and there is no secret in it
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.rename(path)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _move_out(self, is_known: Callable[[str], bool]) -> None:
        """Takes everything out of the folder whose name is not known."""
        entries = [entry for entry, _ in zip(self.folder.iterdir(), range(limits.ROUTE_FILES), strict=False)]
        for entry in sorted(entry for entry in entries if not is_known(entry.name)):
            self.foreign.mkdir(exist_ok=True)
            target = self.foreign / entry.name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            entry.replace(target)
            if not entry.name.startswith(name_of("")):
                logger.warning("%s is no route of ours: moved to %s", entry, target)

    def _read(self, service_id: str) -> bytes | None:
        try:
            return self._path(service_id).read_bytes()
        except OSError:
            return None

    def _path(self, service_id: str) -> Path:
        return self.folder / f"{name_of(service_id)}{SUFFIX}"
