"""A dry run's answer: what a command would append, what the tenant would use after it, what would be gone.

The writer decides it as it decides the real one, appends and projects, and takes that back: see `Writer.rehearse`. So it
cannot promise what the real one would refuse. What is made anew for each request (ids, times) the real one has anew.
"""

from typing import Any

from apsw import Connection
from msgspec import UNSET, Struct, UnsetType

from ahplat.answers import Rehearsal
from ahplat.api.frames import public
from ahplat.api.tenant_usage import TenantUsage, usage_of
from events.tenants import TenantErasureRequested
from projections import tenants
from projections.inventory import Thing, gone, inventory


class Seen(Struct, frozen=True):
    """A tenant's things and what it uses, at one moment; `usage` is None where there is no such tenant."""

    things: list[Thing]
    usage: TenantUsage | None


def look(views: Connection, tenant_id: str) -> Seen:
    """What there is now. Runs on the writer's thread, before and after."""
    is_there = tenants.status_of(views, tenant_id) in ("active", "suspended")
    return Seen(inventory(views, tenant_id), usage_of(views, tenant_id) if is_there else None)


class PlannedEvent(Struct, frozen=True):
    """An event that would be appended; secrets are left out, as they are of the real one."""

    stream: str
    version: int
    type: str
    data: dict[str, Any]


class Destroyed(Struct, frozen=True):
    """Something that would be gone for its tenant. `parent_id` is what it goes with."""

    resource_type: str
    resource_id: str
    name: str | UnsetType = UNSET
    parent_id: str | UnsetType = UNSET


class Plan(Struct, frozen=True):
    """What a command would do, as of `position` of the log.

    `etag` is the version that it was decided at: sent with the real command as If-Match, that fails with 412 if the
    resource changed meanwhile. Absent where the resource is not there yet.
    """

    dry_run: bool
    position: int
    version: int
    events: list[PlannedEvent]
    destroys: list[Destroyed]
    etag: str | UnsetType = UNSET
    quota: TenantUsage | UnsetType = UNSET


def plan_of(rehearsal: Rehearsal[Seen], etag: str) -> Plan:
    """The plan that a rehearsal comes to."""
    shown = [public(at, event) for at, event in rehearsal.facts]
    # an erasure takes everything, though the views forget it only with its outcome
    is_erasure = any(isinstance(event, TenantErasureRequested) for _, event in rehearsal.facts)
    lost = rehearsal.before.things if is_erasure else gone(rehearsal.before.things, rehearsal.after.things)
    return Plan(
        dry_run=True,
        position=rehearsal.position,
        version=rehearsal.version,
        events=[PlannedEvent(one.stream, one.version, one.type, one.data) for one in shown],
        destroys=[
            Destroyed(one.resource_type, one.resource_id, one.name or UNSET, one.parent or UNSET) for one in lost
        ],
        etag=etag if rehearsal.version else UNSET,
        quota=rehearsal.after.usage or UNSET,
    )
