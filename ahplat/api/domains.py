"""Further host names of a service over HTTP: claimed by the tenant, routed once somebody found them to be theirs."""

from typing import Literal
from urllib.parse import quote

from apsw import Connection
from msgspec import UNSET, Struct, UnsetType

from ahplat import limits
from ahplat.api.call import Call, Reply, json_reply
from ahplat.api.fields import At, DomainName, Id, invalid
from ahplat.api.route import Route
from ahplat.api.services import find
from ahplat.api.waiting import waited
from ahplat.commands.domains import AddDomain, CheckDomain, DomainCommand, RemoveDomain, VerifyDomain
from ahplat.errors import Rejected
from ahplat.hosts import canonical_host, is_under
from ahplat.names.proofs import PROVEN_CHARACTERS, Proof, proof_of
from ahplat.routers.choice import kind_of, origin_of
from projections import domains, services
from projections.domains import DomainRow

Status = Literal["verified", "pending", "failed"]
ERRORS = {
    "record_missing": "there is no TXT record of that name",
    "record_differs": "there are TXT records of that name, and none has the value",
    "no_answer": "the resolver gave no answer, or said that it failed",
    "domain_taken": "the record is there, but the name was verified for another service before",
}
"""What a look for the record found, where that was not the record."""


class Domain(Struct, frozen=True):
    """One host name. `tls` says who sees to its certificate once it is verified: the router by ACME, a proxy in front, nobody.

    `record` is what its owner sets in DNS; `error` why the last look for it did not do. A name that is `failed` is not
    looked for any more until somebody asks.
    """

    domain: str
    service_id: Id
    status: Status
    url: str
    tls: Literal["acme", "proxy", "none"]
    added_at: At
    verified_at: At | UnsetType = UNSET
    record: Proof | UnsetType = UNSET
    error: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    last_checked_at: At | UnsetType = UNSET
    next_check_at: At | UnsetType = UNSET


class NewDomain(Struct):
    """The name that the service is to answer under, in any form that DNS or a browser takes for it."""

    domain: DomainName


def render(call: Call, row: DomainRow) -> Domain:
    """The public form of a name's row."""
    scheme, port = origin_of(call.app.config, call.app.port)
    return Domain(
        domain=row.host,
        service_id=row.service_id,
        status=status_of(row),
        url=f"{scheme}://{row.host}{port}",
        tls="none" if scheme == "http" else "proxy" if kind_of(call.app.config) == "builtin" else "acme",
        added_at=row.added_at,
        verified_at=row.verified_at or UNSET,
        record=UNSET if row.verified else proof_of(call.app.keyring, row.tenant_id, row.host),
        error=UNSET if row.verified else ERRORS.get(row.finding or "", UNSET),
        error_code=UNSET if row.verified or not row.finding else row.finding,
        last_checked_at=row.checked_at or UNSET,
        next_check_at=row.check_at or UNSET,
    )


def status_of(row: DomainRow) -> Status:
    """Failed is what was looked for in vain and is not looked for any more."""
    if row.verified:
        return "verified"
    return "failed" if row.finding and not row.check_open else "pending"


def check_domain(text: str, domain: str) -> str:
    """The name as it is kept. Raises Rejected where it is none, or one that the platform gives itself."""
    try:
        host = canonical_host(text)
    except ValueError as error:
        raise invalid("/domain", f"{text[:80]!r} is no host name of yours: {error}") from error
    if is_under(host, domain):
        raise invalid("/domain", f"names under {domain} are the platform's own: a service has one by its name")
    if len(host) > PROVEN_CHARACTERS:
        raise invalid("/domain", f"it is longer than {PROVEN_CHARACTERS} characters: no record could prove it")
    return host


async def add(call: Call) -> Reply:
    """Claims a name for the service, and says which record proves it. With `--dev` it is taken for verified at once."""
    config = call.app.config
    host = check_domain(call.body(NewDomain).domain, config.domain)
    by = "dev" if config.dev else ""
    now_us = call.app.clock.now_us()
    command = AddDomain(
        tenant_id=call.tenant_id,
        service_id=call.path_id(),
        host=host,
        verified_by=by,
        due_us=now_us + int(limits.DOMAIN_CHECK_S[0] * 1e6),  # a resolver that is asked too soon remembers the no
        until_us=now_us + int(limits.DOMAIN_CHECKED_FOR_S * 1e6),
    )
    location = f"/v1/services/{quote(call.path_id(), safe='')}/domains/{host}"
    return await call.order(command, lambda views: _rendered(call, views, command), 201, location=location)


def _rendered(call: Call, views: Connection, command: DomainCommand) -> Domain:
    (row,) = (row for row in domains.list_of(views, command.service_id) if row.host == command.host)
    return render(call, row)


async def list_all(call: Call) -> Reply:
    """The further host names of a service, newest first, and what is still wanted of their owner."""
    service = find(call, call.views, call.path_id())
    rows = sorted(domains.list_of(call.views, service.service_id), key=lambda row: (-row.added_at, row.host))
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
    """Looks for the record now, as the tenant asks. The operator needs none: the name is routed from now on."""
    if call.principal.kind == "tenant":
        return await _check(call)
    service = services.find(call.views, call.path_id())
    if service is None:
        raise Rejected("service_not_found", f"there is no service {call.path_id()[:64]}")
    command = VerifyDomain(tenant_id=service.tenant_id, service_id=service.service_id, host=_named(call), by="operator")
    return await call.order(command, lambda views: _rendered(call, views, command))


async def _check(call: Call) -> Reply:
    service_id, host, now_us = call.path_id(), _named(call), call.app.clock.now_us()
    until_us = now_us + int(limits.DOMAIN_CHECKED_FOR_S * 1e6)
    command = CheckDomain(tenant_id=call.tenant_id, service_id=service_id, host=host, now_us=now_us, until_us=until_us)
    reply = await call.order(command, lambda views: _rendered(call, views, command), 202)
    if await waited(call, f"service-{service_id}", reply, subject=f"domain-{service_id}.{host}"):
        now = json_reply(_rendered(call, call.views, command))
        reply.status, reply.body = now.status, now.body
    return reply


_DOMAINS = "/v1/services/{service_id}/domains"
ROUTES = [
    Route(
        "POST",
        _DOMAINS,
        add,
        "add_domain",
        scope="deploy",
        body=NewDomain,
        answer=Domain,
        status=201,
        codes=("domain_taken", "quota_exceeded"),
    ),
    Route("GET", _DOMAINS, list_all, "list_domains", as_of=True, answer=list[Domain], versioned=True),
    Route("DELETE", f"{_DOMAINS}/{{domain}}", remove, "remove_domain", scope="deploy", status=204, destroys=True),
    Route(
        "POST",
        f"{_DOMAINS}/{{domain}}/verify",
        verify,
        "verify_domain",
        auth="key_or_operator",
        scope="deploy",
        answer=Domain,
        status=202,
        other_status=200,
        codes=("domain_taken",),
        waits=True,
    ),
]
