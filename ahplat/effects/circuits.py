"""The look at open circuits: a service is tried once when its time has come, and forgiven after a healthy hour."""

import logging
from collections.abc import Callable

from ahplat import limits
from ahplat.clock import new_id
from ahplat.commands.circuits import CloseCircuit, TryService
from ahplat.commands.command import Command
from ahplat.effects.task import Platform
from ahplat.effects.turns import each_service
from ahplat.errors import Rejected
from projections import circuits
from projections.circuits import CircuitRow
from projections.services import ServiceRow

logger = logging.getLogger("ahplat.reconcile")


def due(service: ServiceRow, circuit: CircuitRow | None, now_us: int) -> Command | None:
    """What is to be said of a service without open work; None when nothing is.

    The healthy hour begins with the last crash or, where that is later, with the try.
    """
    tenant_id, service_id = service.tenant_id, service.service_id
    if service.serving:
        since_us = max((service.last_crashed_at or 0) * 1_000_000, circuit.since_us if circuit else 0)
        is_forgiven = now_us - since_us >= limits.CIRCUIT_HEALTHY_S * 1_000_000 and (circuit or service.crash_count)
        return CloseCircuit(tenant_id=tenant_id, service_id=service_id) if is_forgiven else None
    if circuit is None or now_us < circuit.try_at_us:
        return None
    return TryService(tenant_id=tenant_id, service_id=service_id, deployment_id=new_id(now_us), seen_us=now_us)


class CircuitLook:
    """Looks at all of them. `is_busy` says of a stream whether work on it is open, and looks again later."""

    def __init__(self, platform: Platform, is_busy: Callable[[str], bool]) -> None:
        self.platform = platform
        self._is_busy = is_busy

    async def look_at_all(self) -> None:
        """Looks at every service."""
        async for service in each_service(self.platform.views):
            circuit = circuits.find(self.platform.views, service.service_id)
            command = due(service, circuit, self.platform.clock.now_us())
            if command is None or self._is_busy(f"service-{service.service_id}"):
                continue
            try:
                await self.platform.writer.submit(command, actor="system", expected=service.version)
            except Rejected as refused:  # suspended, out of quota, or it moved meanwhile: the next look tells
                logger.info("service-%s: %s", service.service_id, refused.detail)
