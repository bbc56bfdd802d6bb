"""Further host names of a service over HTTP: claimed by the tenant, routed once somebody found them to be theirs."""

from typing import Literal
from urllib.parse import quote

from apsw import Connection
from msgspec import UNSET, Struct, UnsetType

from ahplat.api.auth import Token
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.fields import DomainName, invalid
from ahplat.api.route import Route
from ahplat.api.services import find
from ahplat.commands.domains import AddDomain, DomainCommand, RemoveDomain, VerifyDomain
from ahplat.errors import Rejected
from ahplat.hosts import canonical_host, is_under
from ahplat.routers.choice import origin_of
from projections import domains, services
from projections.domains import DomainRow


class Domain(Struct, frozen=True):
    """One host name. `tls` says who sees to its certificate: the router, by ACME, or nobody."""

    domain: str
    service_id: str
    status: Literal["verified", "unverified"]
    url: str
    tls: Literal["acme", "none"]
    added_at: int
    verified_at: int | UnsetType = UNSET


class NewDomain(Struct):
    """The name that the service is to answer under, in any form that DNS or a browser takes for it."""

    domain: DomainName


def render(call: Call, row: DomainRow) -> Domain:
    """The public form of a name's row."""
    scheme, port = origin_of(call.app.config, call.app.port)
    return Domain(
        domain=row.host,
        service_id=row.service_id,
        status="verified" if row.verified else "unverified",
        url=f"{scheme}://{row.host}{port}",
        tls="acme" if scheme == "https" else "none",
        added_at=row.added_at,
        verified_at=row.verified_at or UNSET,
    )


def check_domain(text: str, domain: str) -> str:
    """The name as it is kept. Raises Rejected where it is none, or one that the platform gives itself."""
    try:
        host = canonical_host(text)
    except ValueError as error:
        raise invalid("/domain", f"{text[:80]!r} is no host name of yours: {error}") from error
    if is_under(host, domain):
        raise invalid("/domain", f"names under {domain} are the platform's own: a service has one by its name")
    return host


async def add(call: Call) -> Reply:
    """Claims a name for the service. With `--dev` it is taken for verified at once."""
    config = call.app.config
    host = check_domain(call.body(NewDomain).domain, config.domain)
    by = "dev" if config.dev else ""
    command = AddDomain(tenant_id=call.tenant_id, service_id=call.path_id(), host=host, verified_by=by)
    location = f"/v1/services/{quote(call.path_id(), safe='')}/domains/{host}"
    return await call.order(command, lambda views: _rendered(call, views, command), 201, location=location)


def _rendered(call: Call, views: Connection, command: DomainCommand) -> Domain:
    (row,) = (row for row in domains.list_of(views, command.service_id) if row.host == command.host)
    return render(call, row)


async def list_all(call: Call) -> Reply:
    """The service's further names, newest first."""
    service = find(call, call.app.views, call.path_id())
    rows = sorted(domains.list_of(call.app.views, service.service_id), key=lambda row: (-row.added_at, row.host))
    return json_reply([render(call, row) for row in rows], ETag=call.etag(service.version))


def _named(call: Call) -> str:
    """The name in the path; what is none stays as it is, and no service has it."""
    try:
        return canonical_host(call.path_id(1))
    except ValueError:
        return call.path_id(1)


async def remove(call: Call) -> Reply:
    """Gives a name up: the service does not answer under it any more."""
    command = RemoveDomain(tenant_id=call.tenant_id, service_id=call.path_id(), host=_named(call))
    return await call.order(command, lambda _: None, 204)


async def verify(call: Call) -> Reply:
    """The operator found the name to be the tenant's: it is routed from now on."""
    call.body(Token)
    service = services.find(call.app.views, call.path_id())
    if service is None:
        raise Rejected("service_not_found", f"there is no service {call.path_id()[:64]}")
    command = VerifyDomain(tenant_id=service.tenant_id, service_id=service.service_id, host=_named(call), by="operator")
    return await call.order(command, lambda views: _rendered(call, views, command))


ROUTES = [
    Route("POST", "/v1/services/{service_id}/domains", add, scope="deploy", body=NewDomain),
    Route("GET", "/v1/services/{service_id}/domains", list_all),
    Route("DELETE", "/v1/services/{service_id}/domains/{domain}", remove, scope="deploy"),
    Route("POST", "/v1/services/{service_id}/domains/{domain}/verify", verify, auth="operator", body=Token),
]
