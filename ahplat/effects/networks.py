"""Tenants' networks as effects need them: there, guarded, and with somebody who answers names in them."""

from typing import Any

from apsw import Connection

from ahplat.effects.specs import egress_of, network_of, networks_of
from ahplat.effects.task import Failed, Task
from ahplat.names.responder import Site
from projections import tenants
from projections.tenants import TenantRow


async def join_networks(task: Task[Any], tenant: TenantRow, egress: str) -> None:
    """Has the networks stand that an instance is to be in, its names answered before it starts."""
    wanted = [network_of(tenant, task.platform.installation)]
    if egress == "internet":
        outside = egress_of(tenant, task.platform.installation)
        if outside is None:
            raise Failed("egress_unsupported", "the tenant was registered before there were networks to the internet")
        wanted.append(outside)
    for network in wanted:
        await task.step(task.engine.ensure_network, network)
    await task.platform.names.look(tenant.tenant_id)


async def leave_networks(task: Task[Any], tenant: TenantRow) -> None:
    """Removes all networks of a tenant that is being erased."""
    for network in networks_of(tenant, task.platform.installation):
        await task.step(task.engine.remove_network, network)
    await task.platform.names.look(tenant.tenant_id)


def sites(views: Connection, installation: str, tenant_id: str = "") -> list[Site]:
    """Where names are to be answered, if it is there: in every network of one tenant, or of all.

    Who is on a network to the internet has egress, so names outside are asked for there and nowhere else.
    """
    one = tenants.find(views, tenant_id) if tenant_id else None
    rows = ([one] if one else []) if tenant_id else tenants.list_not_erased(views)
    networks = [network for row in rows for network in networks_of(row, installation)]
    return [Site(each.tenant, each.bridge, each.gateway, passes_on=not each.internal) for each in networks]
