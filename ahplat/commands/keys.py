"""What may happen to API keys."""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.commands.tenants import STREAM
from ahplat.errors import Rejected
from events.event import Event
from events.keys import KeyCreated, KeyRevoked
from projections import keys, services, tenants
from projections.services import ServiceRow


class CreateKey(Command, frozen=True, kw_only=True):
    """One more key for a tenant."""

    key: KeyCreated


class Keys(Struct, frozen=True):
    """How many keys are in force, the status of who holds them ("" when there is nobody), and the service it is for."""

    count: int
    tenant_status: str
    service: ServiceRow | None


def load_keys(views: Connection, command: CreateKey) -> Keys:
    tenant = tenants.find(views, command.tenant_id)
    service = services.find(views, command.key.service_id) if command.key.service_id else None
    return Keys(keys.count_of(views, command.tenant_id), tenant.status if tenant else "", service)


def create(state: Keys, command: CreateKey) -> list[Event]:
    if state.tenant_status in ("", "erased"):
        raise Rejected("tenant_not_found", f"there is no tenant {command.tenant_id}")
    if state.tenant_status == "suspended":
        raise Rejected("tenant_suspended", "the tenant is suspended: reactivate it first")
    if state.count >= limits.KEYS_PER_TENANT:
        raise Rejected("quota_exceeded", f"{state.count} keys, {limits.KEYS_PER_TENANT} allowed: revoke one first")
    service, wanted = state.service, command.key.service_id
    if wanted and (service is None or service.tenant_id != command.tenant_id or service.desired == "deleted"):
        raise Rejected("service_not_found", f"there is no service {wanted}")
    return [command.key]


class RevokeKey(Command, frozen=True, kw_only=True):
    """A key opens nothing from here on."""

    key_id: str


def load_key(views: Connection, command: RevokeKey) -> None:
    row = keys.find(views, command.key_id)
    if row is None or row.tenant_id != command.tenant_id or row.revoked_at is not None:
        raise Rejected("key_not_found", f"there is no key {command.key_id}")


def revoke(_: None, command: RevokeKey) -> list[Event]:
    return [KeyRevoked(command.key_id)]


COMMANDS: dict[type[Command], Decision] = {
    CreateKey: Decision(load_keys, create, STREAM),
    RevokeKey: Decision(load_key, revoke, STREAM, frees=True),
}
