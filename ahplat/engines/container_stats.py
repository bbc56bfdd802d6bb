"""What a container uses, from Docker's `stats`: counters of its cgroup and of its network interfaces. Blocking."""

from collections.abc import Sequence

import msgspec
from docker import APIClient
from docker.errors import NotFound
from msgspec import Struct, field

from ahplat.engines.engine import Counters


class _Cpu(Struct):
    total_usage: int = 0  # nanoseconds


class _CpuStats(Struct):
    cpu_usage: _Cpu = field(default_factory=_Cpu)


class _Memory(Struct):
    usage: int = 0
    stats: dict[str, int] = {}

    @property
    def held(self) -> int:
        """Without what the kernel would give back at once, as `docker stats` shows it."""
        return max(0, self.usage - self.stats.get("inactive_file", self.stats.get("total_inactive_file", 0)))


class _Interface(Struct):
    rx_bytes: int = 0
    tx_bytes: int = 0


class _Stats(Struct):
    cpu_stats: _CpuStats = field(default_factory=_CpuStats)
    memory_stats: _Memory = field(default_factory=_Memory)
    networks: dict[str, _Interface] = {}


def read(client: APIClient, container_ids: Sequence[str]) -> dict[str, Counters]:
    """Of those that run. One that does not has no cgroup, and tells zeros."""
    found = {}
    for container_id in container_ids:
        try:
            told = counters_of(client.stats(container_id, stream=False, one_shot=True))
        except NotFound:
            continue
        if told.cpu_us:
            found[container_id] = told
    return found


def counters_of(answer: object) -> Counters:
    """From the body of Docker's answer.

    >>> counters_of({"cpu_stats": {"cpu_usage": {"total_usage": 5_000}}, "memory_stats": {"usage": 9}, "networks": None})
    Counters(cpu_us=5, memory_bytes=9, rx_bytes=0, tx_bytes=0)
    """
    told = {name: value for name, value in msgspec.convert(answer, dict[str, object]).items() if value is not None}
    stats = msgspec.convert(told, _Stats)
    return Counters(
        cpu_us=stats.cpu_stats.cpu_usage.total_usage // 1_000,
        memory_bytes=stats.memory_stats.held,
        rx_bytes=sum(one.rx_bytes for one in stats.networks.values()),
        tx_bytes=sum(one.tx_bytes for one in stats.networks.values()),
    )
