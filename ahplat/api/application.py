"""What handlers work with: one struct, made once in `ahplat/main.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import apsw

from ahplat import limits
from ahplat.api.history import History
from ahplat.api.places import Places
from ahplat.api.sizes import Sizes
from ahplat.api.throttle import Window
from ahplat.builders.build_logs import BuildLogs
from ahplat.builders.builder import Builder
from ahplat.checkpoints import Checkpoints
from ahplat.clock import Clock
from ahplat.config import Config
from ahplat.effects.disks import DiskWatch
from ahplat.effects.follow import Follower
from ahplat.effects.garbage import Collector
from ahplat.effects.metering import Meter
from ahplat.effects.reconcile import Reconciler
from ahplat.effects.runner import Runner
from ahplat.engines.engine import Engine
from ahplat.metering import Metering
from ahplat.names.responders import Responders
from ahplat.routers.router import Router
from ahplat.sealing import Keyring
from ahplat.writer import Writer
from events.event import Event, Recorded

if TYPE_CHECKING:
    from ahplat.api.auth import Gate
    from ahplat.api.documents import Documents
    from ahplat.api.rates import Rates
    from ahplat.api.server import Edge
    from ahplat.api.stream import Hub
    from ahplat.mcp.toolbox import Toolbox


class Application:
    """See the module. `views` and `log` are the loop's own read connections: never hold a cursor over an await."""

    def __init__(self, config: Config, keyring: Keyring, clock: Clock) -> None:
        self.config = config
        self.keyring = keyring
        self.clock = clock
        self.ready = asyncio.Event()  # set once the views are in step
        self.progress = (0, 0)  # events folded and in all, while they are not
        self.closing = False
        self.port = config.port  # the one that is listened on
        self.rendered: dict[str, tuple[int, bytes]] = {}  # service id → (version, its JSON)
        self.execs = Places("commands are running")
        self.logs = Places("logs are being read")
        self.uploads = Places("archives are on their way")
        self.history = History(config.data_dir / "events.db")
        self.listed: dict[str, bytes] = {}  # tenant id → the list of its services, until something of it changes
        self.sizes = Sizes()
        self.registrations = Window(limits.REGISTRATIONS_PER_HOUR, 3600.0, 1)
        self.registrations_here = Window(limits.REGISTRATIONS_PER_HOUR_AND_ADDRESS, 3600.0, limits.AUTH_CACHE)
        # the rest is there from `ready` on
        self.epoch = 1
        self.installation = ""
        self.log: apsw.Connection
        self.views: apsw.Connection
        self.writer: Writer
        self.engine: Engine
        self.builder: Builder
        self.build_logs: BuildLogs
        self.router: Router
        self.runner: Runner
        self.reconciler: Reconciler
        self.names: Responders
        self.follower: Follower
        self.disks: DiskWatch
        self.collector: Collector
        self.meter: Meter
        self.metering: Metering
        self.hub: Hub
        self.checkpoints: Checkpoints
        self.read_damage: Callable[[Exception], None]  # told of a damaged page that a read met
        self.gate: Gate
        self.rates: Rates
        self.edge: Edge
        self.tools: Toolbox
        self.documents: Documents

    def forget(self, facts: list[tuple[Recorded, Event]]) -> None:
        """Called with every commit, before anybody is answered."""
        for at, _ in facts:
            self.listed.pop(at.tenant, None)
