"""The look at the router's container: it is in every tenant's network, put back where it was not, and that is said.

A router that is away is said in health and keeps nobody waiting: services run, and are reached once it is back. The
repair comes before its event: a server that dies between the two leaves a router that is where it should be.
"""

import logging

from ahplat.commands.networks import ReportRouterRejoin
from ahplat.effects.specs import network_of
from ahplat.effects.task import Platform
from projections import tenants

logger = logging.getLogger("ahplat.reconcile")


class MembershipLook:
    """See the module. `problem` is why services are not reached through it, "" where they are."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.problem = ""

    async def look_at_all(self) -> None:
        """Looks at every network. Raises Unavailable."""
        platform = self.platform
        wanted = [network_of(row, platform.installation) for row in tenants.list_not_erased(platform.views)]
        seen = await platform.engine.join_router(wanted)
        if seen.problem and seen.problem != self.problem:
            logger.warning("the router: %s", seen.problem)
        self.problem = seen.problem
        for one in seen.joined:
            was = f"at {one.found}" if one.found else "not there"
            logger.warning(
                "the router was %s in the network of tenant %s, and is where it belongs now", was, one.tenant
            )
            report = ReportRouterRejoin(tenant_id=one.tenant, container=one.container, found=one.found)
            await platform.writer.submit(report, actor="system")
