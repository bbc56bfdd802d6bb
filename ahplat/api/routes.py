"""Every route. What is not in ROUTES does not exist."""

from ahplat.api import (
    activity,
    build_logs,
    builds,
    database_backups,
    databases,
    deployments,
    domains,
    env,
    events,
    execs,
    keys,
    logs,
    quotas,
    services,
    system,
    tenants,
    usage,
    volumes,
)
from ahplat.api.route import Route

ROUTES: list[Route] = [
    *system.ROUTES,
    *tenants.ROUTES,
    *quotas.ROUTES,
    *usage.ROUTES,
    *keys.ROUTES,
    *services.ROUTES,
    *env.ROUTES,
    *deployments.ROUTES,
    *builds.ROUTES,
    *build_logs.ROUTES,
    *databases.ROUTES,
    *database_backups.ROUTES,
    *volumes.ROUTES,
    *domains.ROUTES,
    *activity.ROUTES,
    *events.ROUTES,
    *execs.ROUTES,
    *logs.ROUTES,
]
