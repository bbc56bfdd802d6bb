"""What a tenant may have, and how much of it is used."""

from typing import Annotated

from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from ahplat import limits
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.fields import Quota, cpu_count, whole
from ahplat.api.route import Route
from ahplat.api.tenants import find
from ahplat.commands.tenants import SetQuotas
from projections import databases, keys, services, storage, tenants


class Usage(Struct, frozen=True):
    """How much of one quota is used."""

    used: float
    max: float


class TenantUsage(Struct, frozen=True):
    """What the tenant uses and may use."""

    services: Usage
    databases: Usage
    api_keys: Usage
    memory_mb: int
    used_memory_mb: int
    cpu_cores: int
    used_cpu_cores: float
    disk_gb: int
    used_disk_gb: float
    rate_limit: int


def usage_of(views: Connection, tenant_id: str) -> TenantUsage:
    """Counts what is wanted to run against the quotas."""
    quotas = limits.QUOTAS | tenants.quotas_of(views, tenant_id)
    rows = services.held_by(views, tenant_id)
    running = [row for row in rows if row.desired == "running"]
    memory_mb, cpu_milli = databases.held_by(views, tenant_id)
    return TenantUsage(
        services=Usage(len(rows), quotas["max_services"]),
        databases=Usage(len(databases.list_of(views, tenant_id)), quotas["max_databases"]),
        api_keys=Usage(keys.count_of(views, tenant_id), limits.KEYS_PER_TENANT),
        memory_mb=quotas["max_memory_mb"],
        used_memory_mb=memory_mb + sum(row.memory_mb for row in running),
        cpu_cores=quotas["max_cpu_cores"],
        used_cpu_cores=cpu_count(cpu_milli + sum(row.cpu_milli for row in running)),
        disk_gb=quotas["max_disk_gb"],
        used_disk_gb=whole(
            round(sum(storage.held_by(views, tenant_id).values()) / 10**9, 3)
        ),  # as it was measured last
        rate_limit=quotas["api_rate_limit"],
    )


class QuotasLeft(Struct, frozen=True):
    """What more the tenant may have."""

    services: float
    databases: float
    api_keys: float
    memory_mb: int
    cpu_cores: float
    disk_gb: float


def quotas_left(usage: TenantUsage) -> QuotasLeft:
    """Never below 0: a quota that was lowered takes nothing away."""
    return QuotasLeft(
        services=max(0, usage.services.max - usage.services.used),
        databases=max(0, usage.databases.max - usage.databases.used),
        api_keys=max(0, usage.api_keys.max - usage.api_keys.used),
        memory_mb=max(0, usage.memory_mb - usage.used_memory_mb),
        cpu_cores=max(0, usage.cpu_cores - usage.used_cpu_cores),
        disk_gb=max(0, usage.disk_gb - usage.used_disk_gb),
    )


async def usage(call: Call) -> Reply:
    """What is used of each quota."""
    return json_reply(usage_of(call.app.views, call.tenant_id))


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
    Route("GET", "/v1/tenant/usage", usage, "get_usage", answer=TenantUsage),
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
