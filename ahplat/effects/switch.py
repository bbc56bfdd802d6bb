"""How the router comes to have what it is told: told, asked until it shows exactly that, and put back where it never does.

Nothing that served is touched before the router has shown what follows it. A router that is away is no refusal: the work
waits, and what serves goes on.
"""

import asyncio
import hashlib
from contextlib import suppress
from typing import Any

from ahplat import limits
from ahplat.effects.task import Failed, Platform, Task
from ahplat.errors import Unavailable
from ahplat.routers.router import Route
from events.services import Target
from projections import routes
from projections.routes import RouteRow


def route_of(row: RouteRow, domain: str, targets: list[Target] | None = None) -> Route:
    """The router's form of a row: to where it goes, or to `targets`."""
    own = f"{row.label}.{row.tenant_label}.{domain}"
    servers = row.targets if targets is None else targets
    instances = " ".join(sorted(target.instance for target in servers))
    generation = hashlib.sha256(instances.encode()).hexdigest()[:12] if instances else ""
    return Route(row.service_id, (own, *row.domains), tuple(server_of(target) for target in servers), generation)


def server_of(target: Target) -> str:
    """`host:port`, as a URL has it.

    >>> server_of(Target(1, "i", "10.1.2.3", 80)), server_of(Target(1, "i", "::1", 80))
    ('10.1.2.3:80', '[::1]:80')
    """
    return f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"


def current(platform: Platform, service_id: str) -> Route:
    """What the views say of a service: where it answers, or that it is not to."""
    row = routes.find(platform.views, service_id)
    return settled(row, platform.domain) if row else Route(service_id)


def settled(row: RouteRow, domain: str) -> Route:
    """Where a service answers now; without hosts while it never did, and for a worker."""
    is_routed = row.deployment_id and _listens(row.targets)
    return route_of(row, domain) if is_routed else Route(row.service_id)


def _listens(targets: list[Target]) -> bool:
    """A worker listens nowhere: there is nothing to route."""
    return all(target.port for target in targets)


async def move(task: Task[Any], targets: list[Target]) -> None:
    """Has the router send the service's requests to `targets`, and returns once it does.

    Raises Failed `route_unconfirmed` when it does not although it answers, Unavailable while it does not answer.
    """
    row = routes.find(task.platform.views, task.subject)
    if row is None or not _listens(targets):
        return
    wanted = route_of(row, task.platform.domain, targets)
    await task.step(task.platform.router.lead, task.work.intent, wanted)
    if not await confirmed(task, wanted, limits.ROUTE_CONFIRM_S):
        detail = f"the router does not send requests to {', '.join(wanted.servers)} within {limits.ROUTE_CONFIRM_S:g} s"
        raise Failed("route_unconfirmed", detail)


async def confirmed(task: Task[Any], wanted: Route, within_s: float) -> bool:
    """Whether the router comes to show exactly this in time. Raises Unavailable while it does not answer."""
    clock, router = task.platform.clock, task.platform.router
    poll_s, slowest_s = limits.ROUTE_POLL_S
    since_us = answered_us = clock.now_us()
    away_s = min(within_s, limits.ROUTE_AWAY_S)
    while True:
        task.check()
        try:
            if await router.shows(wanted):
                return True
            answered_us = clock.now_us()
            if answered_us - since_us > within_s * 1e6:
                return False
        except Unavailable:
            if clock.now_us() - answered_us > away_s * 1e6:
                raise
        await task.pause(poll_s)
        poll_s = min(slowest_s, poll_s * 1.5)


async def put_back(task: Task[Any]) -> None:
    """The router is told again what the views say, and given the time to let go of what it had been led to."""
    platform = task.platform
    with suppress(Unavailable):
        back = current(platform, task.subject)
        await platform.router.lead(task.work.intent, back)
        looks = int(limits.ROUTE_CONFIRM_S / limits.ROUTE_POLL_S[1])
        for _ in range(looks):
            if await platform.router.shows(back):
                break
            await asyncio.sleep(limits.ROUTE_POLL_S[1])
    await asyncio.sleep(platform.drain_s)


async def withdraw(task: Task[Any]) -> None:
    """No more requests for what is about to end; not for long, where the router does not answer."""
    gone = Route(task.subject)
    with suppress(Unavailable):
        await task.step(task.platform.router.lead, task.work.intent, gone)
        await confirmed(task, gone, limits.ROUTE_GONE_S)


async def follow_up(task: Task[Any], targets: list[Target]) -> None:
    """The router is led to what a repair started, before what it replaces ends; not for long, where it does not answer."""
    row = routes.find(task.platform.views, task.subject)
    if row is None or not _listens(targets):
        return
    wanted = route_of(row, task.platform.domain, targets)
    with suppress(Unavailable):
        await task.step(task.platform.router.lead, task.work.intent, wanted)
        if await confirmed(task, wanted, limits.ROUTE_GONE_S):
            await task.pause(task.platform.drain_s)
