"""A service's variables over HTTP. Values are sealed on their way in, and shown only when that is asked for."""

from typing import Annotated

from apsw import Connection
from msgspec import Meta, Struct

from ahplat.answers import Answer
from ahplat.api.call import Call, Reply, answer, json_reply
from ahplat.api.fields import EnvValues, check_env, invalid
from ahplat.api.route import Route
from ahplat.api.services import find, seal_env
from ahplat.commands.services import SetEnv, UnsetEnv
from ahplat.errors import Rejected
from projections import env, services

MASK = "********"


class EnvUpdated(Struct, frozen=True):
    """The variables are set; a deployment makes them count."""

    note: str
    status: str


_UPDATED = EnvUpdated("the next deploy, redeploy or restart applies it", "updated")


class Asked(Struct):
    """Whether to show the values."""

    reveal: Annotated[bool, Meta(description="show the values; wants the scope `deploy`")] = False


async def get(call: Call) -> Reply:
    """The variables, masked; with `reveal=true` (which wants the scope `deploy`) as they are."""
    row = find(call, call.views, call.path_id())
    sealed = env.values_at(call.views, row.service_id, row.env_version)
    if not call.asked(Asked).reveal:
        return json_reply(dict.fromkeys(sealed, MASK), ETag=call.etag(row.version))
    if not call.principal.scopes & {"deploy", "admin"}:
        raise Rejected("forbidden_scope", "to reveal variables needs a key with the scope 'deploy'")
    stream = f"service-{row.service_id}"
    values = {key: call.unsealed(row.tenant_id, stream, f"env.{key}", value) for key, value in sealed.items()}
    return json_reply(values, ETag=call.etag(row.version), Cache_Control="no-store")


async def set_env(call: Call) -> Reply:
    """Sets or replaces variables of a service; those that are not named stay.

    What runs keeps the old ones until the next deploy, redeploy or restart.
    """
    values = call.body(EnvValues)
    if not values:
        raise invalid("", "expected 1-100 variables")
    check_env(values, "")
    service_id = call.path_id()
    command = SetEnv(tenant_id=call.tenant_id, service_id=service_id, sealed=seal_env(call, service_id, values))

    def rendered(views: Connection) -> Answer:
        row = services.find(views, service_id)
        return answer(_UPDATED, version=row.version if row else 0)

    return call.reply(await call.submit(command, rendered))


async def unset(call: Call) -> Reply:
    """Takes one variable of a service away; the next deploy, redeploy or restart applies it."""
    command = UnsetEnv(tenant_id=call.tenant_id, service_id=call.path_id(), key=call.path_id(1))
    return await call.order(command, lambda _: None, 204)


_ENV = "/v1/services/{service_id}/env"
ROUTES = [
    Route(
        "GET",
        _ENV,
        get,
        "get_env",
        as_of=True,
        query=Asked,
        answer=dict[str, str],
        versioned=True,
    ),
    Route(
        "POST",
        _ENV,
        set_env,
        "set_env",
        scope="deploy",
        body=EnvValues,
        answer=EnvUpdated,
        codes=("quota_exceeded",),
        versioned=True,
    ),
    Route("DELETE", f"{_ENV}/{{key}}", unset, "unset_env", scope="deploy", status=204, destroys=True),
]
