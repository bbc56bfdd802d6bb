"""What a tenant used, over time: hour by hour or day by day, of each service and database, and of what is stored."""

from typing import Annotated, Literal

from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat import limits
from ahplat.api.activity import moment
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.fields import At, Id, whole
from ahplat.api.query import Moment, invalid_parameter
from ahplat.api.route import Route
from ahplat.errors import Rejected
from events.log import read_all
from projections import services
from projections.metering import HOUR_S, Figures, figures_of

Period = Literal["hourly", "daily"]
PERIODS: dict[Period, int] = {"hourly": HOUR_S, "daily": 24 * HOUR_S}
DEFAULT_WINDOWS: dict[Period, int] = {"hourly": 24, "daily": 30}


class UsageRow(Struct, frozen=True, kw_only=True):
    """What one service or database used, and what was kept for it, from `timestamp` on for one period.

    `memory_mb_avg` is over the seconds in which it ran. A row with neither id is the tenant's storage, in bytes times
    seconds.
    """

    timestamp: At
    service_id: Id | UnsetType = UNSET
    database_id: Id | UnsetType = UNSET
    running_seconds: int | UnsetType = UNSET
    cpu_seconds: float | UnsetType = UNSET
    memory_mb_seconds: int | UnsetType = UNSET
    memory_mb_avg: float | UnsetType = UNSET
    network_rx_bytes: int | UnsetType = UNSET
    network_tx_bytes: int | UnsetType = UNSET
    reserved_mb_seconds: int | UnsetType = UNSET
    reserved_cpu_seconds: float | UnsetType = UNSET
    build_seconds: int | UnsetType = UNSET
    stored_byte_seconds: dict[str, int] | UnsetType = UNSET


def row_of(figures: Figures) -> UsageRow:
    """Figures as the API gives them."""
    if figures.kind == "storage":
        return UsageRow(timestamp=figures.at, stored_byte_seconds=figures.stored_byte_s)
    is_service = figures.kind == "service"
    return UsageRow(
        timestamp=figures.at,
        service_id=figures.resource_id if is_service else UNSET,
        database_id=UNSET if is_service else figures.resource_id,
        running_seconds=figures.running_s,
        cpu_seconds=whole(figures.cpu_us / 1_000_000),
        memory_mb_seconds=figures.memory_mb_s,
        memory_mb_avg=whole(round(figures.memory_mb_s / figures.running_s, 1)) if figures.running_s else 0,
        network_rx_bytes=figures.rx_bytes,
        network_tx_bytes=figures.tx_bytes,
        reserved_mb_seconds=figures.reserved_mb_s,
        reserved_cpu_seconds=whole(figures.reserved_milli_s / 1_000),
        build_seconds=figures.build_s if is_service else UNSET,
    )


class Asked(Struct):
    """Which periods; without `since` the last 24 hours or 30 days."""

    period: Annotated[Period, Meta(description="how much time one row is about")] = "hourly"
    since: Moment = ""
    until: Moment = ""


class AskedOfTenant(Asked):
    """The same, of one service or of all."""

    service_id: Annotated[str, Meta(description="only rows of this service or database")] = ""


async def _listed(call: Call, asked: Asked, resource_id: str) -> Reply:
    window_s, now = PERIODS[asked.period], _now(call)
    until = min(moment(asked.until, "until") or now, now)
    since = moment(asked.since, "since") or until - DEFAULT_WINDOWS[asked.period] * window_s
    since -= since % window_s
    if since >= until:
        raise invalid_parameter("since", "expected a time before `until`, and before now")
    if until - since > limits.USAGE_WINDOWS * window_s:
        raise invalid_parameter("since", f"expected at most {limits.USAGE_WINDOWS} periods from it to `until`")
    tenant_id = call.tenant_id

    def figures(db: Connection) -> list[Figures]:
        return figures_of(db, tenant_id, since, until, window_s, resource_id)

    if call.past:
        found = figures(await call.app.history.views(tenant_id, call.as_of, "metering"))
    else:
        found = await call.app.metering.read(figures)
    return json_reply([row_of(one) for one in reversed(found)])


def _now(call: Call) -> int:
    """Up to when what lasts is counted: now, or the moment that is asked about, in unix seconds."""
    if call.past:
        return read_all(call.app.log, call.as_of - 1, 1)[0].at_s
    return call.app.clock.now_us() // 1_000_000


async def of_tenant(call: Call) -> Reply:
    """What the tenant used, hour by hour or day by day, newest first; of one service where `service_id` names it.

    What this hour used is told at its end.
    """
    asked = call.asked(AskedOfTenant)
    return await _listed(call, asked, asked.service_id)


async def of_service(call: Call) -> Reply:
    """What one service used, hour by hour or day by day, newest first; it may be deleted by now."""
    row = services.find(call.views, call.path_id())
    if row is None or row.tenant_id != call.tenant_id:
        raise Rejected("service_not_found", f"there is no service {call.path_id()[:64]}")
    return await _listed(call, call.asked(Asked), row.service_id)


ROUTES = [
    Route(
        "GET",
        "/v1/tenant/usage/metrics",
        of_tenant,
        "list_usage",
        as_of=True,
        query=AskedOfTenant,
        answer=list[UsageRow],
    ),
    Route(
        "GET",
        "/v1/services/{service_id}/metrics",
        of_service,
        "list_service_usage",
        as_of=True,
        query=Asked,
        answer=list[UsageRow],
    ),
]
