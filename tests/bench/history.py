"""A log as a platform would have written it: tenants, keys, services, deploys, variables, crashes and their repair.

Written by the log itself, in big batches. In the end nothing is to run and no work is open, so that a server that
starts on it has nothing to do. The mix of events is one deploy's: seven of ten are of deploys and their attempts.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from ahplat.sealing import Keyring, read_master_key
from events.effects import EffectAttempted
from events.event import Event, Meta
from events.keys import KeyCreated
from events.log import EventLog
from events.services import (
    ServiceConfigured,
    ServiceCrashed,
    ServiceCreated,
    ServiceDeployRequested,
    ServiceDrained,
    ServiceEnvSet,
    ServiceInstanceHealthy,
    ServiceRepaired,
    ServiceRepairRequested,
    ServiceRouted,
    ServiceStopped,
    ServiceStopRequested,
    Target,
)
from events.tenants import TenantRegistered

INSTALLATION = "018f0000000070008000000000000bec"
BATCH = 2_000
AGE_US = 2 * 3_600_000_000  # of the first event; one follows each millisecond
SERVICES = 5  # of each tenant
ROUNDS = 24  # of each service: variables, a deploy, now and then a crash; so 1M events are of fewer than 1,000 tenants
SEALED = bytes(range(60))
DIGEST = "sha256:" + "ab" * 32
_BY_TENANT = Meta("key:018f0000000070008000000000000001", "DeployImage", 0, "018f0000000070008000000000000002", "", "b")


class Shape(Struct, frozen=True):
    """How long a log is, in events or in tenants, and what its tenants have."""

    events: int = 1 << 60
    tenants: int = 1 << 60
    services: int = SERVICES
    rounds: int = ROUNDS


def lay(data: Path, shape: Shape) -> int:
    """Makes a server's folder with such a log, and keys of its own; returns how many events there are."""
    data.mkdir()
    Keyring(data / "keys.db", read_master_key(data / "master.key", may_make=True)).close()
    return write(data / "events.db", shape)


def write(path: Path, shape: Shape) -> int:
    """Makes a log of that shape, of whole services only; returns how many events there are."""
    began_us = time.time_ns() // 1_000 - AGE_US
    log = EventLog(path, INSTALLATION, began_us)
    tenant = 0
    log.begin()
    while log.position < shape.events and tenant < shape.tenants:
        for stream, facts, cause in _tenant(log, tenant, shape):
            meta = Meta("system", "Conclude", cause, _BY_TENANT.correlation, "", "b") if cause else _BY_TENANT
            log.append(stream, facts, "any", f"{tenant:032x}", began_us + log.position * 1_000, meta)
            if log.position % BATCH < len(facts):
                log.commit()
                log.begin()
            if log.position >= shape.events and stream.startswith("service-") and isinstance(facts[-1], ServiceStopped):
                break
        tenant += 1
    log.commit()
    count = log.position
    log.close()
    return count


Said = tuple[str, list[Event], int]  # a stream, what to append to it, and the cause (0: a tenant's command)


def _tenant(log: EventLog, number: int, shape: Shape) -> Iterator[Said]:
    name = f"tenant-{number:032x}"
    subnet = f"10.{number >> 10 & 255}.{number >> 2 & 255}.{(number & 3) << 6}/26"
    yield name, [TenantRegistered(SEALED, SEALED, b"%d" % number, f"t{number}", subnet)], 0
    yield name, [KeyCreated(f"{number:032x}", SEALED, b"$2b$10$" + bytes(53), ["read", "deploy", "admin"])], 0
    for index in range(shape.services):
        yield from _service(log, f"{number:020x}{index:012x}", index, shape.rounds)


def _service(log: EventLog, service: str, index: int, rounds: int) -> Iterator[Said]:
    stream = f"service-{service}"
    yield stream, [ServiceCreated(f"web{index}", f"web{index}", "ah/hello", 8000, 256, 500, "", "none", 1)], 0
    for number in range(1, rounds + 1):
        deployment = f"{service[8:]}{number:08x}"
        target = Target(1, f"ah-{deployment}", "127.0.0.1", 20_000 + number)
        yield stream, [ServiceEnvSet({"DATABASE_URL": SEALED, "GREETING": SEALED})], 0
        yield from _deploy(log, stream, deployment, number, target)
        if number % 4 == 0:
            yield stream, [ServiceConfigured(memory_mb=256 + number)], 0
            yield from _crash(log, stream, deployment, target)
    yield stream, [ServiceStopRequested()], 0
    yield from _outcome(log, stream, lambda intent: ServiceStopped(intent, [target.instance]))


def _deploy(log: EventLog, stream: str, deployment: str, number: int, target: Target) -> Iterator[Said]:
    asked = ServiceDeployRequested(
        deployment, number, "manual", "ah/hello", 8000, 256, 500, "", "none", 1, env_version=2 * number
    )
    yield stream, [asked], 0
    yield from _outcome(log, stream, lambda at: ServiceInstanceHealthy(at, deployment, DIGEST, "ah/hello@x", [target]))
    yield from _outcome(log, stream, lambda at: ServiceRouted(at, deployment))
    yield from _outcome(log, stream, lambda at: ServiceDrained(at, deployment, []))


def _crash(log: EventLog, stream: str, deployment: str, target: Target) -> Iterator[Said]:
    crashed = ServiceCrashed(deployment, 1, target.instance, 1, 3, tail=bytes(400))
    yield stream, [crashed, ServiceRepairRequested(deployment)], log.position
    yield from _outcome(log, stream, lambda at: ServiceRepaired(at, deployment, [target], []))


def _outcome(log: EventLog, stream: str, outcome: Callable[[int], Event]) -> Iterator[Said]:
    """The attempt at what was appended last, and what came of it."""
    intent = log.position
    yield f"effect-{intent}", [EffectAttempted(intent, stream, 1)], intent
    yield stream, [outcome(intent)], intent
