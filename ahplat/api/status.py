"""What an operator wants to see at a glance, of all tenants: `ah status` shows it."""

from msgspec import Struct

from ahplat import limits
from ahplat.api import system
from ahplat.api.application import Application
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.route import Route
from ahplat.backups.schedule import last_made_at, machine_s
from ahplat.version import VERSION
from projections import builds, databases, services, tenants, todo
from projections.todo import TodoRow


class Work(Struct, frozen=True):
    """One piece of open work. `state`: under_way, waits (for its time, its turn or the engine), parked (for an operator).

    `position` is what `ah unpark` wants, `code` what was in the way of the last attempt.
    """

    position: int
    type: str
    subject: str
    tenant_id: str
    state: str
    attempt: int
    age_s: int
    code: str


class NewestBackup(Struct, frozen=True):
    """The newest verified backup of log and keys, 0 for none, and how often the server makes one, 0 for never."""

    made_at: int
    every_s: int


class PlatformStatus(Struct, frozen=True):
    """`work` is the oldest STATUS_WORK pieces, `health.effects` says how many there are; so it is with `unknown`."""

    version: str
    now: int
    health: system.Detailed
    tenants: dict[str, int]  # by status
    services: dict[str, int]
    databases: dict[str, int]
    builds: dict[str, int]
    work: list[Work]
    backup: NewestBackup
    unknown: list[str]


async def status(call: Call) -> Reply:
    """The parts, what there is of everything, the open work, and the last backup."""
    app = call.app
    health = await system.look(app)
    under_way = {work.intent for work in app.runner.under_way}
    waiting = [row.status for row in builds.list_open(app.views)]
    return json_reply(
        PlatformStatus(
            version=VERSION,
            now=int(machine_s(app.clock)),
            health=health,
            tenants=tenants.count_by_status(app.views),
            services=services.count_by_status(app.views),
            databases=databases.count_by_status(app.views),
            builds={name: waiting.count(name) for name in sorted(set(waiting))},
            work=[_work(app, row, under_way) for row in todo.open_of_all(app.views)[: limits.STATUS_WORK]],
            backup=NewestBackup(last_made_at(app.config.backup_folder), int(app.config.backup_every_s)),
            unknown=[f"{one.kind} {one.name}" for one in app.collector.strangers[: limits.UNKNOWN_NAMED]],
        )
    )


def _work(app: Application, row: TodoRow, under_way: set[int]) -> Work:
    return Work(
        position=row.intent,
        type=row.type,
        subject=row.subject,
        tenant_id=row.tenant_id,
        state="parked" if row.parked else "under_way" if row.intent in under_way else "waits",
        attempt=row.attempt,
        age_s=max(0, app.clock.now_us() - row.since_us) // 1_000_000,
        code=row.code or "",
    )


ROUTES = [Route("GET", "/v1/system/status", status, "get_platform_status", auth="operator", answer=PlatformStatus)]
