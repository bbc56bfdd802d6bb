"""Tenants over HTTP: registration, the tenant itself, and what the operator does with tenants."""

import asyncio

from apsw import Connection
from msgspec import UNSET, Struct, UnsetType

from ahplat.answers import Answer
from ahplat.api.auth import SCOPES, Throttled, Token, key_created
from ahplat.api.call import Call, Planned, Reply, answer, json_reply
from ahplat.api.fields import At, Email, Id, Label, TenantName, check_label, invalid
from ahplat.api.query import Paged
from ahplat.api.route import Route
from ahplat.api.waiting import waited
from ahplat.backups.schedule import aged_out_at
from ahplat.clock import new_id
from ahplat.commands.command import Command
from ahplat.commands.keys import CreateKey
from ahplat.commands.tenants import (
    ChangeProfile,
    ReactivateTenant,
    RegisterTenant,
    RequestErasure,
    SuspendTenant,
)
from ahplat.errors import Rejected, Unavailable, Unreadable
from ahplat.sealing import Keyring
from projections import keys, tenants
from projections.tenants import TenantRow

_FIRST_KEY = "first key"


class Tenant(Struct, frozen=True, kw_only=True):
    """A tenant as its holder and the operator see it. Name, email and label are absent once it is erased."""

    id: Id
    tenant_id: Id
    dns_label: Label | UnsetType = UNSET
    status: str
    created_at: At
    updated_at: At
    name: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    suspended_at: At | UnsetType = UNSET


def render(row: TenantRow, keyring: Keyring) -> Tenant:
    """The public form of a tenant's row; of one whose key is gone neither name nor label, also where it is of the past."""
    name = _opened(keyring, row.tenant_id, "name", row.name)
    return Tenant(
        id=row.tenant_id,
        tenant_id=row.tenant_id,
        dns_label=UNSET if name is UNSET else row.label,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
        name=name,
        email=_opened(keyring, row.tenant_id, "email", row.email),
        suspended_at=row.suspended_at or UNSET,
    )


def _opened(keyring: Keyring, tenant_id: str, field: str, sealed: bytes | None) -> str | UnsetType:
    if sealed is None:
        return UNSET
    try:
        return keyring.unseal(tenant_id, f"tenant-{tenant_id}", field, sealed).decode()
    except Unreadable:
        return UNSET


def seal(call: Call, tenant_id: str, field: str, text: str) -> bytes:
    """Seals a field of the tenant's own stream."""
    return call.app.keyring.seal(tenant_id, f"tenant-{tenant_id}", field, text.encode())


# registration


class Registration(Struct):
    """A new tenant; the token may come here instead of in its header."""

    name: TenantName
    email: Email
    bootstrap_token: str = ""


class Registered(Struct, frozen=True):
    """The tenant and, once, its first key."""

    tenant_id: Id
    api_key: str | UnsetType = UNSET


async def register(call: Call) -> Reply:
    """Makes a tenant and its first key, which is told once: keep it."""
    app, body = call.app, call.body(Registration)
    label = check_label(body.name, "/name")
    if not app.config.dev:
        limit_registrations(call)
    now_us = app.clock.now_us()
    tenant_id, key_id = new_id(now_us), new_id(now_us)
    made = await app.gate.new_key(key_id)
    await asyncio.to_thread(app.keyring.create, tenant_id)
    command = RegisterTenant(
        tenant_id=tenant_id,
        name=seal(call, tenant_id, "name", body.name),
        email=seal(call, tenant_id, "email", body.email),
        email_index=app.keyring.email_index(body.email),
        label=label,
        pool=app.config.tenant_pool,
        key=key_created(made, seal(call, tenant_id, "key.name", _FIRST_KEY), list(SCOPES[2:]), 0),
    )
    try:
        done = await call.submit(
            command,
            lambda _: answer(Registered(tenant_id), 201, "/v1/tenant", secret=Registered(tenant_id, made.api_key)),
            keeps_secret=call.principal.kind != "anonymous",  # of whom nobody knows that it is the same again
        )
    except (Rejected, Unavailable, Planned):  # after any other error there may be a tenant, and it will want its key
        await asyncio.to_thread(app.keyring.destroy, tenant_id)
        raise
    if done.replayed:
        await asyncio.to_thread(app.keyring.destroy, tenant_id)
    return call.reply(done)


def limit_registrations(call: Call) -> None:
    """Raises Throttled: so many an hour from one address, and so many in all."""
    now = call.app.clock.monotonic()
    for window, who in ((call.app.registrations_here, call.address), (call.app.registrations, "")):
        if wait_s := window.take(who, now):
            raise Throttled("registration_limited", "too many registrations", wait_s)


class Recovery(Struct):
    """Whose key is to be replaced."""

    email: Email
    bootstrap_token: str = ""


class Recovered(Struct, frozen=True, kw_only=True):
    """One more key; `key` and `api_key` are the same, told once."""

    id: Id
    key: str | UnsetType = UNSET
    api_key: str | UnsetType = UNSET
    name: str
    created_at: At


async def recover(call: Call) -> Reply:
    """Gives the tenant with this address one more key."""
    app, body = call.app, call.body(Recovery)
    row = tenants.find_by_email(app.views, app.keyring.email_index(body.email))
    if row is None:
        raise Rejected("tenant_not_found", "no tenant has this email")
    made = await app.gate.new_key(new_id(app.clock.now_us()))
    key = key_created(made, seal(call, row.tenant_id, "key.name", "recovered"), list(SCOPES[2:]), 0)

    def told(views: Connection, secret: bool) -> Recovered:
        found = keys.find(views, made.key_id)
        assert found
        shown = made.api_key if secret else UNSET
        return Recovered(id=made.key_id, key=shown, api_key=shown, name="recovered", created_at=found.created_at)

    command = CreateKey(tenant_id=row.tenant_id, key=key)
    return call.reply(
        await call.submit(command, lambda views: answer(told(views, False), 201, secret=told(views, True)))
    )


class Reactivated(Struct, frozen=True, kw_only=True):
    """The tenant is back; its new key is told once."""

    tenant_id: Id
    api_key: str | UnsetType = UNSET
    status: str


async def reactivate(call: Call) -> Reply:
    """Ends a suspension; what ran before runs again."""
    call.body(Token)
    row = find(call)
    made = await call.app.gate.new_key(new_id(call.app.clock.now_us()))
    key = key_created(made, seal(call, row.tenant_id, "key.name", "reactivated"), list(SCOPES[2:]), 0)
    command = ReactivateTenant(tenant_id=row.tenant_id, key=key)
    plain = Reactivated(tenant_id=row.tenant_id, status="active")
    secret = Reactivated(tenant_id=row.tenant_id, api_key=made.api_key, status="active")
    return call.reply(await call.submit(command, lambda _: answer(plain, secret=secret)))


def find(call: Call) -> TenantRow:
    """The tenant that the path names, not erased. Raises Rejected."""
    row = tenants.find(call.views, call.path_id())
    if row is None or row.status == "erased":
        raise Rejected("tenant_not_found", f"there is no tenant {call.path_id()[:64]}")
    return row


# the tenant itself


async def get(call: Call) -> Reply:
    """The tenant that the key is of."""
    row = tenants.find(call.views, call.tenant_id)
    assert row
    return json_reply(render(row, call.app.keyring), ETag=call.etag(row.version))


class Profile(Struct):
    """What a tenant may change of itself."""

    name: TenantName | UnsetType = UNSET
    email: Email | UnsetType = UNSET


async def patch(call: Call) -> Reply:
    """Changes name or email. The host names stay: a label is fixed at registration."""
    body = call.body(Profile)
    command = ChangeProfile(
        tenant_id=call.tenant_id,
        name=seal(call, call.tenant_id, "name", body.name) if body.name is not UNSET else None,
        email=seal(call, call.tenant_id, "email", body.email) if body.email is not UNSET else None,
        email_index=call.app.keyring.email_index(body.email) if body.email is not UNSET else None,
    )
    return await _order(call, command, 200)


async def _order(call: Call, command: Command, status: int) -> Reply:
    """Has a command decided and answers with the tenant."""

    def rendered(views: Connection) -> Answer:
        row = tenants.find(views, command.tenant_id)
        assert row
        return answer(render(row, call.app.keyring), status, version=row.version)

    return call.reply(await call.submit(command, rendered))


async def delete(call: Call) -> Reply:
    """Suspends the tenant: keys die now, what runs is stopped, all is kept for a while."""
    reply = await call.order(SuspendTenant(tenant_id=call.tenant_id), lambda _: None, 204)
    await waited(call, f"tenant-{call.tenant_id}", reply)
    return reply


# the operator


async def list_all(call: Call) -> Reply:
    """All tenants, newest first."""
    page = call.page("tenants", call.asked(Paged))
    rows = tenants.list_all(call.views, page.limit, page.offset, page.before)
    last = rows[-1].tenant_id if rows else ""
    return call.listing("tenants", page, [render(row, call.app.keyring) for row in rows], last)


async def get_one(call: Call) -> Reply:
    """One tenant, as the operator sees it."""
    row = tenants.find(call.views, call.path_id())
    if row is None:
        raise Rejected("tenant_not_found", f"there is no tenant {call.path_id()[:64]}")
    return json_reply(render(row, call.app.keyring), ETag=call.etag(row.version))


class Erasure(Struct):
    """What is to be erased for good, by its name."""

    confirm: str = ""
    bootstrap_token: str = ""


class Erasing(Struct, frozen=True):
    """A tenant that is on its way out. Nothing personal: the answer is kept longer than the tenant is.

    `unrecoverable_after`: when the server's last backup that holds the tenant's key will have made room for newer ones, in
    unix seconds. Absent where the server makes none: those made by hand, and copies elsewhere, are not known.
    """

    tenant_id: Id
    status: str
    unrecoverable_after: At | UnsetType = UNSET


async def erase(call: Call) -> Reply:
    """Has everything of the tenant made unreadable, for good."""
    row = find(call)
    name = _opened(call.app.keyring, row.tenant_id, "name", row.name)
    if call.body(Erasure).confirm != name:
        raise invalid("/confirm", "expected the tenant's name: this cannot be undone")
    after = aged_out_at(call.app.config.backup_every_s, call.app.clock.now_us())
    reply = await call.order(
        RequestErasure(tenant_id=row.tenant_id),
        lambda views: Erasing(
            row.tenant_id, tenants.status_of(views, row.tenant_id), UNSET if after is None else after
        ),
        202,
    )
    await waited(call, f"tenant-{row.tenant_id}", reply)
    return reply


ROUTES = [
    Route(
        "POST",
        "/v1/tenants/register",
        register,
        "register_tenant",
        auth="registration",
        body=Registration,
        answer=Registered,
        status=201,
        codes=("duplicate_email", "quota_exceeded", "registration_limited"),
    ),
    Route(
        "POST",
        "/v1/tenants/{tenant_id}/reactivate",
        reactivate,
        "reactivate_tenant",
        auth="bootstrap",
        body=Token,
        answer=Reactivated,
        codes=("tenant_not_suspended",),
    ),
    Route(
        "POST",
        "/v1/auth/recover",
        recover,
        "recover_key",
        auth="bootstrap",
        body=Recovery,
        answer=Recovered,
        status=201,
        codes=("tenant_not_found", "tenant_suspended", "quota_exceeded"),
    ),
    Route("GET", "/v1/tenant", get, "get_tenant", as_of=True, answer=Tenant, versioned=True),
    Route(
        "PATCH",
        "/v1/tenant",
        patch,
        "update_tenant",
        scope="admin",
        body=Profile,
        answer=Tenant,
        codes=("duplicate_email",),
        versioned=True,
    ),
    Route("DELETE", "/v1/tenant", delete, "suspend_tenant", scope="admin", status=204, destroys=True, waits=True),
    Route(
        "GET", "/v1/tenants", list_all, "list_tenants", as_of=True, auth="operator", query=Paged, answer=list[Tenant]
    ),
    Route(
        "GET",
        "/v1/tenants/{tenant_id}",
        get_one,
        "get_any_tenant",
        as_of=True,
        auth="operator",
        answer=Tenant,
        versioned=True,
    ),
    Route(
        "DELETE",
        "/v1/tenants/{tenant_id}/data",
        erase,
        "erase_tenant",
        auth="operator",
        body=Erasure,
        answer=Erasing,
        status=202,
        destroys=True,
        waits=True,
    ),
]
