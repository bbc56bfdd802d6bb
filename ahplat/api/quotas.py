"""What a tenant may have, and how much of it is used, over HTTP."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from ahplat import limits
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.fields import Quota
from ahplat.api.route import Route
from ahplat.api.tenant_usage import TenantUsage, usage_of
from ahplat.api.tenants import find
from ahplat.commands.tenants import SetQuotas
from projections import tenants


async def usage(call: Call) -> Reply:
    """What is used of each quota."""
    return json_reply(usage_of(call.views, call.tenant_id))


class Quotas(Struct):
    """New values of quotas; those that are absent stay."""

    max_services: Quota | UnsetType = UNSET
    max_databases: Quota | UnsetType = UNSET
    max_builds_concurrent: Quota | UnsetType = UNSET
    max_env_vars_per_service: Quota | UnsetType = UNSET
    max_environments: Quota | UnsetType = UNSET
    max_memory_mb: Annotated[int, Meta(ge=0, le=1_000_000_000)] | UnsetType = UNSET
    max_cpu_cores: Quota | UnsetType = UNSET
    max_disk_gb: Quota | UnsetType = UNSET
    api_rate_limit: Quota | UnsetType = UNSET
    bootstrap_token: str | UnsetType = UNSET


async def set_quotas(call: Call) -> Reply:
    """Sets a tenant's quotas and answers with all of them."""
    given = structs.asdict(call.body(Quotas))
    values = {name: given[name] for name in limits.QUOTAS if given[name] is not UNSET}
    tenant_id = find(call).tenant_id
    command = SetQuotas(tenant_id=tenant_id, quotas=values)
    return await call.order(command, lambda views: limits.QUOTAS | tenants.quotas_of(views, tenant_id))


ROUTES = [
    Route("GET", "/v1/tenant/usage", usage, "get_usage", as_of=True, answer=TenantUsage),
    Route(
        "PATCH",
        "/v1/tenants/{tenant_id}/quotas",
        set_quotas,
        "set_quotas",
        auth="operator",
        body=Quotas,
        answer=dict[str, int],
    ),
]
