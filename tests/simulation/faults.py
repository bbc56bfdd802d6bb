"""What goes wrong, by dice: the engine, what runs on it, the router, the server, its disk and its clock."""

import random

from ahplat.errors import EngineAway, Unavailable
from tests.effects.world import do_harm
from tests.simulation.clients import Clients
from tests.simulation.machine import TWICE
from tests.simulation.server import DEATHS, Server

METHODS = (
    *("fetch", "ensure_network", "find_or_start", "inspect", "list") * 2,
    *("fetch", "ensure_network", "find_or_start", "inspect", "list", "stop", "remove", "tail", "guard", "counters"),
    *("ensure_volume", "remove_volume", "list_databases", "execute", "pipe", "belongings", "volume_bytes"),
    *("image_sizes", "remove_image", "remove_network"),
)
CRAWL_S = 1_300.0  # of each call of an engine that hardly moves: longer than any deadline
STEPS_S = (-3_600.0, -1_200.0, 0.0, 0.0, 1_200.0, 86_400.0)  # by which the machine's clock is away from the true time


class Faults:
    """See the module."""

    def __init__(self, server: Server, clients: Clients, dice: random.Random) -> None:
        self.server, self.clients, self.dice = server, clients, dice

    async def strike(self) -> None:
        """One more thing goes wrong."""
        kinds = (self._call, self._engine, self._instance, self._server, self._router, self._disk, self._clock)
        fault = self.dice.choices(kinds, (10, 6, 8, 6, 2, 2, 1))[0]
        self.clients.did.append(fault())

    def _call(self) -> str:
        """A call is late, fails, is done and not answered, is done twice, or is answered with a lie."""
        engine, method = self.server.engine, self.dice.choice(METHODS)
        harm = self.dice.choice(("lag", "lag", "fail", "fail", "lose", "twice", "lie"))
        times = self.dice.randint(1, 4)
        if harm == "lag":
            engine.lag_s[method] = self.dice.choice((0.1, 2, 30))
        elif harm == "fail":
            error = self.dice.choice((Unavailable("engine_error", "500"), EngineAway("a reset connection")))
            engine.fail(method, *[error] * times)
        elif harm == "lose":
            engine.lose_reply(method, times)
        elif harm == "twice":
            engine.twice |= TWICE
        else:
            engine.lies[method] = times
        return f"{harm} {method}"

    def _engine(self) -> str:
        """It goes away and comes back; its events are cut off, repeated, late and out of order; it starts anew."""
        engine, host = self.server.engine, self.server.host
        harm = self.dice.choice(("away", "back", "cut", "repeat", "late", "silent", "restart", "crawl"))
        if harm in ("away", "back"):
            engine.away = harm == "away"
        elif harm == "late":
            engine.late_s = self.dice.choice((0.0, 1.0, 10.0))
        elif harm == "silent":
            engine.silent = not engine.silent
        elif harm == "crawl":
            engine.lag_s.update(dict.fromkeys(METHODS, CRAWL_S))
        elif harm == "repeat":
            for one in list(host.instances.values()):
                engine.hint(one.identity.subject)
        elif harm == "restart":
            for one in [one for one in host.instances.values() if one.state == "running"]:
                if one.id not in host.strangers:
                    host.crash(one.id, 137)
        if harm in ("back", "restart"):
            engine.lag_s.clear()
        if harm in ("away", "back", "cut", "restart"):
            engine.cut_watches()
        return f"engine {harm}"

    def _instance(self) -> str:
        """Something happens to an instance that nobody asked for."""
        host = self.server.host
        ours = sorted({*host.instances} - {*host.strangers})
        if not ours:
            return "nothing to harm"
        instance_id = self.dice.choice(ours)
        harm = self.dice.choice(("crash", "crash", "vanish", "pause", "move", "rename"))
        do_harm(host, instance_id, harm, self.dice)
        return f"{harm} {instance_id}"

    def _server(self) -> str:
        """It dies: now, or at one of its crash points."""
        point = self.dice.choice(("", *DEATHS))
        if point:
            self.server.crash.point, self.server.crash.left = point, self.dice.randint(1, 2)
        else:
            self.server.die()
        return f"death {point}"

    def _router(self) -> str:
        """It goes away, stays as it was whatever it is told, or is what it should be again; or databases say nothing."""
        router, harm = self.server.router, self.dice.choice(("away", "stubborn", "back", "mute databases"))
        if harm == "back":
            self._mend_router()
        elif harm == "mute databases":
            self.server.mute_databases = True
        else:
            router.away, router.stubborn = harm == "away", harm == "stubborn"
        return f"router {harm}"

    def _mend_router(self) -> None:
        self.server.router.stubborn = False
        self.server.router.come_back()

    def _disk(self) -> str:
        """It fills, to the last page or to a percentage; or there is room again."""
        if self.dice.random() < 0.4:
            self.server.give_room()
            self.server.disk_percent = 50
            return "room"
        if self.dice.random() < 0.5:
            self.server.take_room()
            return "no room"
        self.server.disk_percent = self.dice.choice((85, 95))
        return f"disk at {self.server.disk_percent} %"

    def _clock(self) -> str:
        """It is set."""
        self.server.host.ahead_s = self.dice.choice(STEPS_S)
        return f"clock {self.server.host.ahead_s:+}"

    def end(self) -> None:
        """No more faults: what was armed goes off no more."""
        server, engine = self.server, self.server.engine
        engine.away = engine.silent = False
        engine.late_s = 0.0
        for armed in (engine.lag_s, engine._errors, engine._lost, engine.lies, engine.twice):
            armed.clear()
        engine.cut_watches()
        self._mend_router()
        server.mute_databases = False
        server.crash.point = ""
        server.host.ahead_s = 0.0
        server.give_room()
        server.disk_percent = 50
