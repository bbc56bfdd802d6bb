"""What was found of the router's container in a tenant's network is a fact of that network."""

from ahplat.commands.networks import ReportRouterRejoin
from events.networks import NetworkRouterRejoined
from tests.commands.given import TENANT, then, when


def test_that_the_router_was_put_back_is_said_of_the_tenants_network() -> None:
    when(ReportRouterRejoin(tenant_id=TENANT, container="c1", found="10.128.0.2"))
    then(NetworkRouterRejoined("c1", "10.128.0.2"))
