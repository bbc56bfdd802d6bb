"""What undoes a command: an ordinary command of today, made of what was before it.

The log never takes anything back. Undo finds all that the event's command appended, and what was right before it: the
views of that one stream as they were then. From those comes the command that compensates, which the deciders then judge
as they judge any other. Where a later event changed the same thing, or no command compensates, it is refused with why.
The invariant: what is undone is what the command changed, and only as long as nobody changed it since.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, Literal

from apsw import Connection
from msgspec import Struct, structs

from ahplat import limits
from ahplat.commands.builds import CancelBuild
from ahplat.commands.command import Command
from ahplat.commands.databases import DeleteDatabase, StartDatabase, StopDatabase, UndeleteDatabase
from ahplat.commands.deployments import RollBack, StartService
from ahplat.commands.domains import RemoveDomain
from ahplat.commands.keys import RevokeKey
from ahplat.commands.services import ConfigureService, DeleteService, PutEnvBack, StopService
from ahplat.commands.tenants import ChangeProfile, SetQuotas, SuspendTenant
from ahplat.errors import Moved, Rejected
from ahplat.why import command_of
from events import builds, databases, domains, keys, services, tenants
from events.catalog import CATALOG, decode
from events.event import Event, Outcome, Recorded
from events.log import read_all, read_stream
from projections import env
from projections import services as service_views
from projections import tenants as tenant_views
from projections.past import views_of_stream
from projections.services import ServiceRow
from projections.volumes import paths_of

Who = Literal["deploy", "admin", "operator"]  # the scope of the key that may, or the operator alone

_CHUNK = 2_000
_PLATFORM = "system"  # the actor of what effects append
_STARTS = ("start", "restart")  # triggers of deployments that only have something run


class Fresh(Struct, frozen=True):
    """What a command needs from outside: a new deployment's id, and when a database that is deleted now is purged."""

    deployment_id: str
    purge_us: int


class Undone(Struct, frozen=True):
    """The event that says what its command did, all that it appended, and the views of its stream from before it."""

    at: Recorded
    event: Any
    events: list[Event]
    positions: range
    before: Connection
    fresh: Fresh

    @property
    def service(self) -> ServiceRow:
        """The service as it was before."""
        row = service_views.find(self.before, self.at.subject)
        assert row, self.at
        return row

    @property
    def of_service(self) -> dict[str, str]:
        """The fields by which a command names the service."""
        return {"tenant_id": self.at.tenant, "service_id": self.at.subject}

    @property
    def of_database(self) -> dict[str, str]:
        """The fields by which a command names the database."""
        return {"tenant_id": self.at.tenant, "database_id": self.at.subject}


class Way(Struct, frozen=True):
    """How commands of a kind are undone. `command` makes what compensates, or raises Rejected `undo_impossible`.

    `moved_by` says whether a later event of the stream changed the same thing.
    """

    who: Who
    command: Callable[[Undone], Command]
    moved_by: Callable[[Undone, Event], bool]


class Compensation(Struct, frozen=True):
    """`command` undoes what `name` appended from `first` to `last`, as long as `stream` is at `version`."""

    command: Command
    who: Who
    name: str
    first: int
    last: int
    stream: str
    version: int


def compensation(log: Connection, at: Recorded, fresh: Fresh) -> Compensation:
    """What undoes the command that appended an event. Raises Rejected `undo_impossible`, and Moved."""
    first, last = command_of(log, at)
    facts = [(one, decode(one.type, one.data)) for one in read_all(log, first - 1, last - first + 1)]
    way, (deciding, event) = _way_of(facts)
    if facts[0][0].version > limits.PAST_EVENTS:
        raise _impossible(f"{at.stream} has too long a past: {limits.PAST_EVENTS} events are looked at")
    before = views_of_stream(log, at.stream, facts[0][0].version - 1)
    try:
        undone = Undone(deciding, event, [event for _, event in facts], range(first, last + 1), before, fresh)
        version = _unmoved(log, way, undone, facts[-1][0].version)
        return Compensation(way.command(undone), way.who, at.decoded_meta().command, first, last, at.stream, version)
    finally:
        before.close()


def _way_of(facts: list[tuple[Recorded, Event]]) -> tuple[Way, tuple[Recorded, Event]]:
    """How the command is undone, and which event says so: the one whose type stands first in UNDO."""
    deciding = min(facts, key=lambda fact: _ORDER[type(fact[1])])
    found = UNDO[type(deciding[1])]
    if isinstance(found, str):
        raise _impossible(f"{deciding[0].type} at position {deciding[0].position}: {found}")
    return found, deciding


def _unmoved(log: Connection, way: Way, undone: Undone, version: int) -> int:
    """The version of the stream, where nothing that holds changed the same thing after `version`. Raises Moved.

    A later command that was itself undone does not hold, until its undo is undone; nor does one that was in vain.
    """
    nothing = _came_to_nothing(log, undone.at.stream, version)
    if _was_in_vain(undone.events, nothing):
        raise _impossible("the deployment came to nothing: what served before serves, there is nothing to undo")
    # of each command about the same: an event, and the place of what it undid
    newer: list[tuple[Recorded, int | None]] = []
    place_of: dict[int, int] = {}  # position → its command's place among these
    for _, group in groupby(_later(log, undone.at.stream, version), key=lambda at: (at.at_us, at.meta)):
        command = list(group)
        version, meta = command[-1].version, command[0].decoded_meta()
        events = [decode(at.type, at.data) for at in command]
        same = [at for at, event in zip(command, events, strict=True) if way.moved_by(undone, event)]
        if same and not _was_in_vain(events, nothing):
            newer.append((same[-1], place_of.get(meta.cause) if meta.actor != _PLATFORM else None))
            place_of |= dict.fromkeys((at.position for at in command), len(newer) - 1)
    void: set[int] = set()
    for place, (at, undid) in reversed([*enumerate(newer)]):
        if place in void:
            continue
        if undid is None:
            meta = at.decoded_meta()
            is_undo = meta.cause in undone.positions and meta.actor != _PLATFORM
            how = "undid it" if is_undo else "came after it, and is about the same"
            raise Moved(at.position, f"{at.type} at position {at.position} {how}")
        void.add(undid)
    return version


def _came_to_nothing(log: Connection, stream: str, version: int) -> frozenset[str]:
    """Deployments of which it was said after `version` that they never will serve."""
    events = (decode(at.type, at.data) for at in _later(log, stream, version))
    return frozenset(event.deployment_id for event in events if isinstance(event, _CAME_TO_NOTHING))


def _was_in_vain(events: list[Event], nothing: frozenset[str]) -> bool:
    """Whether a command changed nothing: its deployment never came to serve, and it set no more than that one's image."""
    others = [
        event
        for event in events
        if isinstance(event, _WISHES)
        and not (isinstance(event, services.ServiceConfigured) and _given(event).keys() == {"image"})
    ]
    return bool(others) and all(getattr(event, "deployment_id", "") in nothing for event in others)


def _later(log: Connection, stream: str, version: int) -> Iterator[Recorded]:
    while chunk := read_stream(log, stream, version, _CHUNK):
        yield from chunk
        version = chunk[-1].version


def _impossible(why: str) -> Rejected:
    return Rejected("undo_impossible", why)


def _by(*kinds: type[Event]) -> Callable[[Undone, Event], bool]:
    """Moved by whatever event of these kinds."""
    return lambda _, event: isinstance(event, kinds)


def _by_same(field: str, *kinds: type[Event]) -> Callable[[Undone, Event], bool]:
    """Moved by an event of these kinds that names the same thing in a field."""
    return lambda undone, event: isinstance(event, kinds) and getattr(event, field) == getattr(undone.event, field)


# services


def _given(event: Event) -> dict[str, Any]:
    """What an event changes, of those that leave the rest as it was."""
    return {name: value for name, value in structs.asdict(event).items() if value is not None}


def _by_settings(undone: Undone, event: Event) -> bool:
    if isinstance(event, services.ServiceConfigured):
        return bool(_given(event).keys() & _given(undone.event).keys())
    return isinstance(event, services.ServiceDeleteRequested)


def _settings(undone: Undone) -> Command:
    before = {name: getattr(undone.service, name) for name in _given(undone.event)}
    if "volumes" in before:
        before["volumes"] = paths_of(before["volumes"])
    if before.get("drain_s", 0) is None:
        raise _impossible("drain_s was the platform's, and nothing sets it back to that: PATCH the service's drain_s")
    return ConfigureService(**undone.of_service, changes=services.ServiceConfigured(**before))


def _variables(events: list[Event]) -> frozenset[str]:
    names: set[str] = set()
    for event in events:
        if isinstance(event, services.ServiceEnvSet):
            names |= event.sealed.keys()
        elif isinstance(event, services.ServiceEnvUnset):
            names.add(event.key)
    return frozenset(names)


def _by_variables(undone: Undone, event: Event) -> bool:
    whole = isinstance(event, services.ServiceEnvRestored | services.ServiceDeleteRequested)
    return whole or bool(_variables([event]) & _variables(undone.events))


def _env(undone: Undone) -> Command:
    row, names = undone.service, _variables(undone.events)
    values = env.values_at(undone.before, row.service_id, row.env_version)
    sealed = {key: value for key, value in values.items() if key in names}
    return PutEnvBack(**undone.of_service, sealed=sealed, absent=tuple(sorted(names - sealed.keys())))


_WISHES = (
    services.ServiceConfigured,
    services.ServiceEnvSet,
    services.ServiceEnvUnset,
    services.ServiceEnvRestored,
    services.ServiceDeployRequested,
    services.ServiceStopRequested,
    services.ServiceDeleteRequested,
)
_CAME_TO_NOTHING = (services.ServiceDeployFailed, services.ServiceRouteFailed, services.ServiceDeployCancelled)


def _deployment(undone: Undone) -> Command:
    row, fresh = undone.service, undone.fresh
    if row.desired == "stopped" and undone.event.trigger in _STARTS:
        return StopService(**undone.of_service)
    if row.desired == "stopped" or not row.deployment_id:
        was = "was stopped" if row.desired == "stopped" else "had never served"
        raise _impossible(f"the service {was} before: stop it, cancel the deployment, or roll back to one that ran")
    return RollBack(**undone.of_service, deployment_id=fresh.deployment_id, to=row.deployment_id)


# tenants


def _by_quotas(undone: Undone, event: Event) -> bool:
    if isinstance(event, tenants.TenantQuotasSet):
        return bool(event.quotas.keys() & undone.event.quotas.keys())
    return isinstance(event, tenants.TenantErasureRequested)


def _quotas(undone: Undone) -> Command:
    before = limits.QUOTAS | tenant_views.quotas_of(undone.before, undone.at.subject)
    return SetQuotas(tenant_id=undone.at.tenant, quotas={name: before[name] for name in undone.event.quotas})


def _by_profile(undone: Undone, event: Event) -> bool:
    if isinstance(event, tenants.TenantProfileChanged):
        return bool(_given(event).keys() & _given(undone.event).keys())
    return isinstance(event, tenants.TenantErasureRequested)


def _profile(undone: Undone) -> Command:
    row = tenant_views.find(undone.before, undone.at.subject)
    return ChangeProfile(tenant_id=undone.at.tenant, **{name: getattr(row, name) for name in _given(undone.event)})


# databases


def _delete_database(undone: Undone) -> Command:
    at = undone.at
    return DeleteDatabase(tenant_id=at.tenant, database_id=at.subject, purge_us=undone.fresh.purge_us)


_WORK = "it says what the platform found or did: undo the request that led to it, which `why` shows"
_BESIDE = "it only came with what its command did"
_LOST = "what is gone is gone"

UNDO: dict[type[Event], Way | str] = {
    # tenants and their keys
    tenants.TenantRegistered: "a tenant is not taken back: DELETE /v1/tenant suspends it",
    tenants.TenantReactivated: Way(
        "operator",
        lambda undone: SuspendTenant(tenant_id=undone.at.tenant),
        _by(tenants.TenantSuspended, tenants.TenantErasureRequested),
    ),
    tenants.TenantSuspended: "who comes back gets a new key, which is told once: reactivate the tenant",
    tenants.TenantErasureRequested: f"{_LOST}: the tenant's data was made unreadable",
    tenants.TenantQuotasSet: Way("operator", _quotas, _by_quotas),
    tenants.TenantProfileChanged: Way("admin", _profile, _by_profile),
    keys.KeyCreated: Way(
        "admin",
        lambda undone: RevokeKey(tenant_id=undone.at.tenant, key_id=undone.event.key_id),
        _by_same("key_id", keys.KeyRevoked),
    ),
    keys.KeyRevoked: "a revoked key never opens anything again: create a new one",
    # services: what decides stands before what comes with it
    services.ServiceCreated: Way(
        "deploy",
        lambda undone: DeleteService(**undone.of_service),
        _by(*_WISHES, domains.ServiceDomainAdded),
    ),
    services.ServiceDeleteRequested: "a service is deleted for good: create it again; its volumes were kept",
    services.ServiceDeployRequested: Way("deploy", _deployment, _by(*_WISHES)),
    services.ServiceStopRequested: Way(
        "deploy",
        lambda undone: StartService(**undone.of_service, deployment_id=undone.fresh.deployment_id),
        _by(services.ServiceDeployRequested, services.ServiceStopRequested, services.ServiceDeleteRequested),
    ),
    services.ServiceDeployCancelled: "the deployment is over: deploy the image again",
    services.ServiceConfigured: Way("deploy", _settings, _by_settings),
    services.ServiceEnvSet: Way("deploy", _env, _by_variables),
    services.ServiceEnvUnset: Way("deploy", _env, _by_variables),
    services.ServiceEnvRestored: _BESIDE,
    domains.ServiceDomainAdded: Way(
        "deploy",
        lambda undone: RemoveDomain(**undone.of_service, host=undone.event.host),
        lambda undone, event: (
            isinstance(event, services.ServiceDeleteRequested)
            or _by_same("host", domains.ServiceDomainRemoved)(undone, event)
        ),
    ),
    domains.ServiceDomainRemoved: "whose the name is has to be shown anew: add it again",
    domains.ServiceDomainVerified: "a name is somebody's or not: remove it from the service where it is not",
    domains.ServiceDomainCheckRequested: "a look for a record changes nothing",
    services.ServiceCircuitReset: "what was forgotten does not come back: stop the service if it is not to run",
    # databases
    databases.DatabaseCreateRequested: Way(
        "deploy", _delete_database, _by(databases.DatabaseDeleteRequested, databases.DatabaseRestoreRequested)
    ),
    databases.DatabaseDeleteRequested: Way(
        "deploy",
        lambda undone: UndeleteDatabase(**undone.of_database),
        _by(
            databases.DatabaseDeleteRequested,
            databases.DatabaseUndeleted,
            databases.DatabasePurgeRequested,
            databases.DatabasePurged,
        ),
    ),
    databases.DatabaseUndeleted: Way(
        "deploy", _delete_database, _by(databases.DatabaseDeleteRequested, databases.DatabaseRestoreRequested)
    ),
    databases.DatabaseStartRequested: Way(
        "deploy",
        lambda undone: StopDatabase(**undone.of_database),
        _by(databases.DatabaseStartRequested, databases.DatabaseStopRequested, databases.DatabaseDeleteRequested),
    ),
    databases.DatabaseStopRequested: Way(
        "deploy",
        lambda undone: StartDatabase(**undone.of_database),
        _by(databases.DatabaseStartRequested, databases.DatabaseStopRequested, databases.DatabaseDeleteRequested),
    ),
    databases.DatabasePurgeRequested: f"{_LOST}: the database's volume was removed",
    databases.DatabaseRestoreRequested: "what the database held before is not kept: restore a backup from before",
    databases.DatabaseConnectionStringRead: "who read it knows it",
    # builds, backups, volumes, commands in containers, work
    builds.BuildRequested: Way(
        "deploy",
        lambda undone: CancelBuild(tenant_id=undone.at.tenant, build_id=undone.at.subject),
        _by(builds.BuildCancelled),
    ),
    builds.BuildCancelled: "the build is over: ask for another one",
    CATALOG["database_backup.requested"]: "a backup changes nothing: remove it where it is not wanted",
    CATALOG["database_backup.remove_requested"]: f"{_LOST}: ask for a new backup",
    CATALOG["volume.purge_requested"]: f"{_LOST}: the volume was removed with all that was in it",
    CATALOG["exec.started"]: "what the command did in its container is not known here",
    CATALOG["effect.unparked"]: "the work is tried again, and parked again where that is in vain",
}
UNDO |= {
    kind: _BESIDE if issubclass(kind, Outcome) and "superseded" in name else _WORK
    for name, kind in CATALOG.items()
    if kind not in UNDO
}
_ORDER = {kind: place for place, kind in enumerate(UNDO)}
