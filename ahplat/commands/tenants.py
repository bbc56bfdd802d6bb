"""What may happen to tenants."""

import ipaddress

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.errors import Rejected
from ahplat.labels import numbered
from events.event import Event, wire_name
from events.keys import KeyCreated
from events.tenants import (
    TenantErasureRequested,
    TenantKept,
    TenantProfileChanged,
    TenantQuotasSet,
    TenantReactivated,
    TenantRegistered,
    TenantSuspended,
    TenantWorkSuperseded,
)
from projections import tenants, todo
from projections.tenants import TenantRow

STREAM = "tenant-{0.tenant_id}"
ERASURE, KEEPING = wire_name(TenantErasureRequested), wire_name(TenantKept)


class RegisterTenant(Command, frozen=True, kw_only=True):
    """A new tenant with its first key. `label` is the one it would like; `pool` is cut into /26 networks."""

    name: bytes
    email: bytes
    email_index: bytes
    label: str
    pool: str
    key: KeyCreated


class Registration(Struct, frozen=True):
    """`label` is the first form that was never given; `before` is how many tenants there ever were."""

    email_taken: bool
    label: str
    before: int
    active: int


def load_registration(views: Connection, command: RegisterTenant) -> Registration:
    before, active = next(views.execute("SELECT count(*), count(*) FILTER (WHERE status <> 'erased') FROM tenant"))
    return Registration(
        email_taken=tenants.find_by_email(views, command.email_index) is not None,
        label=_free_label(views, command.label),
        before=before,
        active=active,
    )


def _free_label(views: Connection, wanted: str) -> str:
    n = 1
    while tenants.is_given(views, numbered(wanted, n)):
        n += 1
    return numbered(wanted, n)


def register(state: Registration, command: RegisterTenant) -> list[Event]:
    if state.email_taken:
        raise Rejected(
            "duplicate_email", "a tenant with this email is registered: recover its key with the bootstrap token"
        )
    if state.active >= limits.TENANTS:
        raise Rejected("quota_exceeded", f"{state.active} tenants, {limits.TENANTS} allowed on this platform")
    return [
        TenantRegistered(
            name=command.name,
            email=command.email,
            email_index=command.email_index,
            label=state.label,
            subnet=subnet(command.pool, 2 * state.before),
            egress_subnet=subnet(command.pool, 2 * state.before + 1),
        ),
        command.key,
    ]


def subnet(pool: str, n: int) -> str:
    """The n-th /26 (from 0) of a pool in CIDR form. Raises Rejected when the pool is used up.

    >>> subnet("10.128.0.0/12", 5)
    '10.128.1.64/26'
    """
    network = ipaddress.ip_network(pool)
    address = int(network.network_address) + n * 64
    if address + 63 > int(network.broadcast_address):
        raise Rejected("quota_exceeded", f"all networks of {pool} were given: the operator sets a larger --tenant-pool")
    return f"{ipaddress.ip_address(address)}/26"


class ChangeProfile(Command, frozen=True, kw_only=True):
    """A tenant changes its name or address; None leaves it."""

    name: bytes | None = None
    email: bytes | None = None
    email_index: bytes | None = None


class Profile(Struct, frozen=True):
    """Whether another tenant has the address."""

    email_taken: bool


def load_profile(views: Connection, command: ChangeProfile) -> Profile:
    holder = tenants.find_by_email(views, command.email_index) if command.email_index else None
    return Profile(email_taken=holder is not None and holder.tenant_id != command.tenant_id)


def change_profile(state: Profile, command: ChangeProfile) -> list[Event]:
    if state.email_taken:
        raise Rejected("duplicate_email", "another tenant is registered with this email")
    if command.name is None and command.email is None:
        return []
    return [TenantProfileChanged(command.name, command.email, command.email_index)]


class SetQuotas(Command, frozen=True, kw_only=True):
    """The operator sets quotas, only those that are given."""

    quotas: dict[str, int]


class SuspendTenant(Command, frozen=True, kw_only=True):
    """The tenant leaves, or is made to: keys die now, what runs is stopped, all is kept for a while."""


class ReactivateTenant(Command, frozen=True, kw_only=True):
    """The tenant is back, with a new key; what ran before runs again."""

    key: KeyCreated


class KeepSuspended(Command, frozen=True, kw_only=True):
    """All of a suspended tenant has stopped: it is kept until `due_us`."""

    due_us: int


class EndKeeping(Command, frozen=True, kw_only=True):
    """The time has come that the intent at this position put off: the tenant is erased, if it is still waiting for that."""

    intent: int


class RequestErasure(Command, frozen=True, kw_only=True):
    """The operator has all data of the tenant made unreadable."""


def load_tenant(views: Connection, command: Command) -> TenantRow:
    row = tenants.find(views, command.tenant_id)
    if row is None or row.status == "erased":
        raise Rejected("tenant_not_found", f"there is no tenant {command.tenant_id}")
    return row


class Standing(Struct, frozen=True):
    """A tenant, whether its erasure is under way (from that there is no way back), and the intents to erase it later."""

    tenant: TenantRow
    erasing: bool
    keeping: tuple[int, ...] = ()

    @property
    def kept_no_longer(self) -> list[Event]:
        """Ends what was put off: something newer comes."""
        return [TenantWorkSuperseded(intent) for intent in self.keeping]


def load_standing(views: Connection, command: Command) -> Standing:
    row = load_tenant(views, command)
    open_work = todo.open_of(views, f"tenant-{row.tenant_id}")
    keeping = tuple(work.intent for work in open_work if work.type == KEEPING)
    return Standing(row, any(work.type == ERASURE for work in open_work), keeping)


def set_quotas(_: TenantRow, command: SetQuotas) -> list[Event]:
    return [TenantQuotasSet(command.quotas)] if command.quotas else []


def suspend(state: TenantRow, _: SuspendTenant) -> list[Event]:
    return [TenantSuspended()] if state.status == "active" else []


def reactivate(state: Standing, command: ReactivateTenant) -> list[Event]:
    if state.erasing:
        raise Rejected("tenant_not_found", "the tenant is being erased")
    if state.tenant.status != "suspended":
        raise Rejected(
            "tenant_not_suspended", f"the tenant is {state.tenant.status}; recover a key with POST /v1/auth/recover"
        )
    return [*state.kept_no_longer, TenantReactivated(), command.key]


def keep(state: Standing, command: KeepSuspended) -> list[Event]:
    if state.tenant.status != "suspended" or state.erasing or state.keeping:
        return []
    return [TenantKept(command.due_us)]


def end_keeping(state: Standing, command: EndKeeping) -> list[Event]:
    if command.intent not in state.keeping or state.tenant.status != "suspended":
        return []
    return request_erasure(state, RequestErasure(tenant_id=command.tenant_id))


def request_erasure(state: Standing, _: RequestErasure) -> list[Event]:
    return [] if state.erasing else [*state.kept_no_longer, TenantErasureRequested()]


COMMANDS: dict[type[Command], Decision] = {
    RegisterTenant: Decision(load_registration, register, STREAM),
    ChangeProfile: Decision(load_profile, change_profile, STREAM),
    SetQuotas: Decision(load_tenant, set_quotas, STREAM),
    SuspendTenant: Decision(load_tenant, suspend, STREAM, frees=True),
    ReactivateTenant: Decision(load_standing, reactivate, STREAM),
    KeepSuspended: Decision(load_standing, keep, STREAM),
    EndKeeping: Decision(load_standing, end_keeping, STREAM, frees=True),
    RequestErasure: Decision(load_standing, request_erasure, STREAM, frees=True),
}
