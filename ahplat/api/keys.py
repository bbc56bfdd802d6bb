"""API keys over HTTP. A key is told once; what is listed has no secret."""

from typing import Annotated, Literal

import msgspec
from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from ahplat.api import headers
from ahplat.api.auth import key_created
from ahplat.api.call import Call, Reply, answer, json_reply
from ahplat.api.fields import At, ExpiresIn, Id, KeyName
from ahplat.api.query import Paged
from ahplat.api.route import Route
from ahplat.api.tenant_usage import QuotasLeft, TenantUsage, quotas_left, usage_of
from ahplat.api.tenants import Tenant, render, seal
from ahplat.clock import new_id
from ahplat.commands.keys import CreateKey, RevokeKey
from projections import keys, tenants
from projections.keys import KeyRow


class NewKey(Struct):
    """What a key is to be. Without `expires_in` (seconds) it does not expire; without scopes it may do all.

    With a `service_id` it opens what is under that service's path, and nothing else but `whoami` and the list of services,
    which then has one.
    """

    name: KeyName = "key"
    expires_in: ExpiresIn | UnsetType = UNSET
    scopes: Annotated[list[Literal["read", "deploy", "admin"]], Meta(min_length=1, max_length=3)] = field(
        default_factory=lambda: ["admin"]
    )
    service_id: Id | UnsetType = UNSET


class Key(Struct, frozen=True, kw_only=True):
    """A key as it is listed; `prefix` is its id's beginning, by which its holder knows it. `api_key` is told once."""

    id: Id
    name: str
    api_key: str | UnsetType = UNSET
    prefix: str
    created_at: At
    expires_at: At | UnsetType = UNSET
    scopes: list[str]
    service_id: Id | UnsetType = UNSET


async def create(call: Call) -> Reply:
    """Makes one more key of the tenant, which is told once: keep it.

    Give a key no more than its holder needs: scopes, an end, one service.
    """
    body = call.body(NewKey)
    app, now_us = call.app, call.app.clock.now_us()
    expires_at = now_us // 1_000_000 + body.expires_in if body.expires_in is not UNSET else 0
    made = await app.gate.new_key(new_id(now_us))
    sealed = seal(call, call.tenant_id, "key.name", body.name)
    created = key_created(made, sealed, sorted(set(body.scopes)), expires_at, body.service_id or "")
    command = CreateKey(tenant_id=call.tenant_id, key=created)

    def told(views: Connection, api_key: str | UnsetType) -> Key:
        row = keys.find(views, made.key_id)
        assert row
        return _render(call, row, api_key)

    return call.reply(
        await call.submit(command, lambda views: answer(told(views, UNSET), 201, secret=told(views, made.api_key)))
    )


def _render(call: Call, row: KeyRow, api_key: str | UnsetType = UNSET) -> Key:
    name = call.app.keyring.unseal(row.tenant_id, f"tenant-{row.tenant_id}", "key.name", row.name).decode()
    return Key(
        id=row.key_id,
        name=name,
        prefix=row.key_id[:8],
        scopes=row.scopes.split(),
        created_at=row.created_at,
        expires_at=row.expires_at or UNSET,
        service_id=row.service_id or UNSET,
        api_key=api_key,
    )


async def list_all(call: Call) -> Reply:
    """The tenant's keys that are not revoked, newest first."""
    page = call.page("keys", call.asked(Paged))
    rows = keys.list_of(call.views, call.tenant_id, page.limit, page.offset, page.before)
    last = rows[-1].key_id if rows else ""
    return call.listing("keys", page, [_render(call, row) for row in rows], last)


async def revoke(call: Call) -> Reply:
    """Ends a key, now: the next request with it is refused, and its streams end."""
    return await call.order(RevokeKey(tenant_id=call.tenant_id, key_id=call.path_id()), lambda _: None, 204)


class LimitsLeft(Struct, frozen=True):
    """Requests that may follow this one at once, and how many there are when none was sent for a while."""

    requests: int
    requests_max: int


class Whoami(Struct, frozen=True):
    """Who calls and what is left for it. `limits_left` is absent where requests are not limited."""

    key: Key
    scopes: list[str]
    tenant: Tenant
    usage: TenantUsage
    quotas_left: QuotasLeft
    limits_left: LimitsLeft | UnsetType = UNSET


async def whoami(call: Call) -> Reply:
    """The key, its scopes, its tenant, and what is used and left of each quota."""
    app = call.app
    key, tenant = keys.find(app.views, call.principal.key_id), tenants.find(app.views, call.tenant_id)
    assert key and tenant
    usage = usage_of(app.views, call.tenant_id)
    found = Whoami(
        key=_render(call, key),
        scopes=sorted(call.principal.scopes),
        tenant=render(tenant, app.keyring),
        usage=usage,
        quotas_left=quotas_left(usage),
    )
    tag = headers.weak_tag(msgspec.json.encode(found))
    return json_reply(structs.replace(found, limits_left=_limits_left(call)), ETag=tag)


def _limits_left(call: Call) -> LimitsLeft | UnsetType:
    shown = call.limited
    return LimitsLeft(int(shown["X-RateLimit-Remaining"]), int(shown["X-RateLimit-Limit"])) if shown else UNSET


ROUTES = [
    Route("GET", "/v1/whoami", whoami, "get_whoami", answer=Whoami, narrow=True),
    Route(
        "POST",
        "/v1/auth/keys",
        create,
        "create_key",
        scope="admin",
        body=NewKey,
        answer=Key,
        status=201,
        codes=("quota_exceeded", "service_not_found"),
    ),
    Route("GET", "/v1/auth/keys", list_all, "list_keys", as_of=True, query=Paged, answer=list[Key]),
    Route("DELETE", "/v1/auth/keys/{key_id}", revoke, "revoke_key", scope="admin", status=204, destroys=True),
]
