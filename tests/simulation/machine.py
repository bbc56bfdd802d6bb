"""The machine under a simulated platform: its containers use something, its clock is set, and it notes who touches what.

Every call that changes something is checked as it comes in. `said` is what has broken a rule; the first of it is raised by
whoever looks next, for a rule that is broken inside an effect would else be one more error that the platform takes in its
stride.
"""

import asyncio
import random
from typing import Any, Protocol, cast

from ahplat import clock, limits
from ahplat.effects.catalog import EFFECTS
from ahplat.effects.task import Effect, Task
from ahplat.engines.engine import Counters, EngineStatus, Image, Instance, Network, Spec, Volume
from ahplat.errors import Unavailable
from ahplat.log_lines import about
from events.event import wire_name
from tests.effects.virtual import START_US, VirtualLoop
from tests.engines.simulated import SimulatedEngine, SimulatedHost

GC_AGE_US = limits.GC_AGE_S * 1_000_000  # read before any mutation
EFFECT_OF: dict[str, Effect] = {wire_name(intent): effect for intent, effect in EFFECTS.items()}
TWICE = frozenset({"ensure_network", "find_or_start", "stop", "remove", "ensure_volume", "remove_volume"})
CPU_US, RX_BYTES, TX_BYTES = 1_000, 10, 20  # of each container in a second
AMOUNTS = ("cpu_us", "rx_bytes", "tx_bytes")
LOOP_S = 5.0  # for which what crashes by itself runs
LOOPS = "loop:"  # how the names of such images begin


class Broke(AssertionError):
    """A rule was broken."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class Witness(Protocol):
    """Who knows from the log what an engine has to know to judge a call."""

    def is_open(self, intent: int) -> bool:
        """Whether an intent has no outcome that this server was told of."""

    def overdue_us(self, task: Task[Any], deadline_s: float) -> float:
        """How long the deadline of an attempt's work has been over; negative before it."""

    def idle_us(self, tenant_id: str) -> float:
        """For how long nobody has needed the tenant's networks."""


class SetClock(clock.SystemClock):
    """The platform's own clock on a machine whose time is the loop's, and is set now and then."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        super().__init__()

    def monotonic(self) -> float:
        return self._loop.now


class Machine(SimulatedHost):
    """See the module. What its containers use it knows better than whoever reads their counters."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = cast(VirtualLoop, asyncio.get_running_loop())
        self.ahead_s = 0.0  # by which its clock was set
        self.begun: dict[str, float] = {}  # of what runs
        self.used: dict[str, dict[str, int]] = {}  # of each container, in the lives that ended
        self.tenant_of: dict[str, str] = {}
        self.strangers: dict[str, Instance] = {}
        self.dice = random.Random(0)
        self.said: list[Broke] = []

    def read_clock(self) -> tuple[int, int]:
        """In place of the kernel's: unix time, and time since the machine started."""
        since_boot_us = round(self.loop.now * 1_000_000)
        return START_US + since_boot_us + round(self.ahead_s * 1_000_000), since_boot_us

    def counters_of(self, instance_id: str) -> Counters:
        ran_s = self.loop.now - self.begun[instance_id]
        return Counters(int(ran_s * CPU_US), 10 * 2**20, int(ran_s * RX_BYTES), int(ran_s * TX_BYTES))

    def used_by(self, instance_id: str) -> dict[str, int]:
        """What a container used until now, in all its lives."""
        used = self.used.setdefault(instance_id, dict.fromkeys(AMOUNTS, 0))
        if instance_id not in self.begun:
            return used
        now = self.counters_of(instance_id)
        return {name: used[name] + getattr(now, name) for name in AMOUNTS}

    def _end(self, instance_id: str) -> None:
        self.used[instance_id] = self.used_by(instance_id)
        self.begun.pop(instance_id, None)

    def start(self, instance_id: str, spec: Spec) -> None:
        self._end(instance_id)
        self.begun[instance_id] = self.loop.now
        self.tenant_of[instance_id] = spec.identity.tenant
        super().start(instance_id, spec)
        if self.behaviours[instance_id].version.startswith(LOOPS):
            begun = self.loop.now
            self.loop.call_later(LOOP_S, self._loop, instance_id, begun)

    def _loop(self, instance_id: str, begun: float) -> None:
        if self.begun.get(instance_id) == begun:
            self.crash(instance_id, 3)

    def create(self, spec: Spec, behaviour: Any) -> str:
        one = spec.identity
        for other in self.instances.values():
            theirs = other.identity
            if (one.instance, one.subject, one.deployment, one.replica) == (
                *(theirs.instance, theirs.subject, theirs.deployment, theirs.replica),
            ):
                self.say_broke("one container a replica", f"{spec.name} beside {other.id}")
        return super().create(spec, behaviour)

    def crash(self, instance_id: str, exit_code: int = 1, oom_killed: bool = False) -> None:
        self._end(instance_id)
        super().crash(instance_id, exit_code, oom_killed)

    def vanish(self, instance_id: str) -> None:
        self._end(instance_id)
        super().vanish(instance_id)

    def say_broke(self, rule: str, detail: str) -> None:
        self.said.append(Broke(rule, detail))


class Engine(SimulatedEngine):
    """One server's way to the machine. A `dead` server's calls do not come through, nor do answers to it."""

    host: Machine

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.dead = False
        self.twice: set[str] = set()  # what is done twice the next time
        self.lies: dict[str, int] = {}  # so often a 409 says that something is in the way, when it was just done
        self.late_s = 0.0  # by which an event is at most late: then another one overtakes it
        self.witness: Witness | None = None

    # how calls go

    async def _arrive(self, method: str, subject: str) -> None:
        await self._if_alive()
        self._check_wanted(method, subject)
        await super()._arrive(method, subject)
        await self._if_alive()

    async def _if_alive(self) -> None:
        while self.dead:
            await asyncio.Event().wait()

    def _leave(self, method: str) -> None:
        if self.lies.get(method):
            self.lies[method] -= 1
            raise Unavailable("engine_error", "409: it is being done already, or the name is taken")
        super()._leave(method)

    def hint(self, service: str) -> None:
        if not self.late_s:
            return super().hint(service)
        for _ in range(self.host.dice.randint(1, 2)):
            self.host.loop.call_later(self.host.dice.uniform(0, self.late_s), super().hint, service)
        return None

    async def status(self) -> EngineStatus:
        await self._if_alive()
        return await super().status()

    def _is_twice(self, method: str) -> bool:
        found = method in self.twice
        self.twice.discard(method)
        return found

    # what may be done

    def _check_wanted(self, method: str, subject: str) -> None:
        """Nothing is begun for work that has its outcome, nor after its deadline."""
        task = about.get()
        if method not in ("fetch", "find_or_start") or not isinstance(task, Task):
            return
        assert self.witness
        if not self.witness.is_open(task.position):
            self.host.say_broke("nothing for work that is over", f"{method} {subject} for {task.position}")
        if self.witness.overdue_us(task, EFFECT_OF[task.work.type].deadline_s) > 0:
            self.host.say_broke("deadlines hold", f"{method} {subject} for {task.position}, which is overdue")

    def _check_owner(self, what: str, tenant_id: str, installation: str = "") -> None:
        task = about.get()
        if installation not in ("", self.installation):
            self.host.say_broke("strangers are left alone", what)
        if isinstance(task, Task) and task.tenant_id != tenant_id:
            self.host.say_broke("nothing of another tenant is touched", f"{what} for {task.tenant_id}")

    async def find_or_start(self, spec: Spec, image: Image) -> Instance:
        self._check_owner(f"start {spec.name}", spec.identity.tenant, spec.identity.instance)
        if self._is_twice("find_or_start"):
            await super().find_or_start(spec, image)
        return await super().find_or_start(spec, image)

    async def stop(self, instance_id: str, grace_s: int) -> None:
        self._check_instance("stop", instance_id)
        if self._is_twice("stop"):
            await super().stop(instance_id, grace_s)
        await super().stop(instance_id, grace_s)

    async def remove(self, instance_id: str) -> None:
        self._check_instance("remove", instance_id)
        if self._is_twice("remove"):
            await super().remove(instance_id)
        await super().remove(instance_id)

    def _check_instance(self, what: str, instance_id: str) -> None:
        if found := self.host.instances.get(instance_id):
            self._check_owner(f"{what} {instance_id}", found.identity.tenant, found.identity.instance)

    async def ensure_network(self, network: Network) -> None:
        self._check_owner(f"network {network.name}", network.tenant, network.instance)
        if self._is_twice("ensure_network"):
            await super().ensure_network(network)
        await super().ensure_network(network)

    async def remove_network(self, network: Network) -> None:
        self._check_owner(f"remove network {network.name}", network.tenant, network.instance)
        assert self.witness
        if not isinstance(about.get(), Task) and self.witness.idle_us(network.tenant) < GC_AGE_US:
            self.host.say_broke("garbage is old", f"network {network.name}")
        await super().remove_network(network)

    async def ensure_volume(self, volume: Volume) -> None:
        self._check_owner(f"volume {volume.name}", volume.tenant, volume.instance)
        if self._is_twice("ensure_volume"):
            await super().ensure_volume(volume)
        await super().ensure_volume(volume)

    async def remove_volume(self, volume: Volume) -> None:
        self._check_owner(f"remove volume {volume.name}", volume.tenant, volume.instance)
        if self._is_twice("remove_volume"):
            await super().remove_volume(volume)
        await super().remove_volume(volume)

    async def counters(self, instance_ids: Any) -> dict[str, Counters]:
        await self._arrive("counters", "")
        self._leave("counters")
        wanted = set(instance_ids)
        return {
            one.id: self.host.counters_of(one.id) for one in self._all_ours() if one.id in wanted & {*self.host.begun}
        }
