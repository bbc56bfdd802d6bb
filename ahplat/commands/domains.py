"""What may be said of further host names: who claims one, that it was found to be theirs, that it is given up.

A claim takes nothing from anybody. Only one service has a name verified; that one is routed. Until somebody vouched for
it, one look at most for its record is open.
"""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.commands.effects import check_fence, open_work
from ahplat.commands.services import STREAM, ServiceCommand, load_row
from ahplat.errors import Rejected
from events.domains import (
    ServiceDomainAdded,
    ServiceDomainCheckDropped,
    ServiceDomainChecked,
    ServiceDomainCheckRequested,
    ServiceDomainRemoved,
    ServiceDomainVerified,
)
from events.event import Event
from projections import domains
from projections.domains import DomainRow
from projections.todo import TodoRow


class DomainCommand(ServiceCommand, frozen=True, kw_only=True):
    """A command about one host name of a service. `host` is normalised: see ahplat/hosts.py."""

    host: str


class DomainState(Struct, frozen=True):
    """The service's claims, the tenant's to this name, and whose it was found to be."""

    own: list[DomainRow]
    claims: list[DomainRow]
    owner: DomainRow | None
    unverified: int  # claims of the tenant's, to whatever name


def load_domain(views: Connection, command: DomainCommand) -> DomainState:
    load_row(views, command)
    return _read(views, command)


def _read(views: Connection, command: DomainCommand) -> DomainState:
    return DomainState(
        own=domains.list_of(views, command.service_id),
        claims=domains.claims_of(views, command.tenant_id, command.host),
        owner=domains.owner_of(views, command.host),
        unverified=domains.unverified_of(views, command.tenant_id),
    )


class AddDomain(DomainCommand, frozen=True, kw_only=True):
    """The service is to answer under a name. `verified_by` says who vouches for it at once, "" for nobody yet.

    Then its record is looked for, from `due_us` until `until_us`.
    """

    verified_by: str = ""
    due_us: int = 0
    until_us: int = 0


def add(state: DomainState, command: AddDomain) -> list[Event]:
    if any(claim.service_id != command.service_id for claim in state.claims):
        raise Rejected("domain_taken", f"another service of yours has the name {command.host}")
    if state.claims:
        return []
    _check_free(state, command)
    if len(state.own) >= limits.DOMAINS_PER_SERVICE:
        raise Rejected(
            "quota_exceeded", f"{len(state.own)} names, {limits.DOMAINS_PER_SERVICE} allowed for one service"
        )
    added = ServiceDomainAdded(command.host)
    if command.verified_by:
        return [added, ServiceDomainVerified(command.host, command.verified_by)]
    if state.unverified >= limits.DOMAINS_UNVERIFIED:
        raise Rejected(
            "quota_exceeded", f"{state.unverified} names wait to be verified, {limits.DOMAINS_UNVERIFIED} allowed"
        )
    return [added, ServiceDomainCheckRequested(command.host, command.due_us, command.until_us)]


class VerifyDomain(DomainCommand, frozen=True, kw_only=True):
    """Somebody who may say so found the name to be the tenant's."""

    by: str


def verify(state: DomainState, command: VerifyDomain) -> list[Event]:
    claim = _claim(state, command)
    if claim.verified:
        return []
    _check_free(state, command)
    return [*_dropped(claim), ServiceDomainVerified(command.host, command.by)]


class CheckDomain(DomainCommand, frozen=True, kw_only=True):
    """The tenant has set the record: it is to be looked for now, and then until `until_us`."""

    now_us: int
    until_us: int


def check(state: DomainState, command: CheckDomain) -> list[Event]:
    claim = _claim(state, command)
    if claim.verified:
        return []
    _check_free(state, command)
    if claim.check_open and (claim.check_at or 0) * 1_000_000 <= command.now_us:
        return []  # it is about to be
    return [*_dropped(claim), ServiceDomainCheckRequested(command.host, command.now_us, command.until_us)]


class FinishDomainCheck(DomainCommand, frozen=True, kw_only=True):
    """What a look for the record found, and the next look, should this one not have ended it."""

    intent: int
    attempt: int
    finding: str
    again: ServiceDomainCheckRequested | None


class CheckState(Struct, frozen=True):
    """The open work, and the name as it stands now: its service may be gone."""

    work: TodoRow
    domain: DomainState


def load_check(views: Connection, command: FinishDomainCheck) -> CheckState:
    return CheckState(open_work(views, command.intent), _read(views, command))


def finish(state: CheckState, command: FinishDomainCheck) -> list[Event]:
    """Who proves a name that another service has by now is told so, and keeps the claim."""
    check_fence(state.work, command.attempt)
    if not any(claim.host == command.host and not claim.verified for claim in state.domain.own):
        return [ServiceDomainCheckDropped(command.intent, command.host)]
    owner = state.domain.owner
    if owner and command.finding == "found":
        return [ServiceDomainChecked(command.intent, command.host, "domain_taken")]
    checked = ServiceDomainChecked(command.intent, command.host, command.finding)
    if command.finding == "found":
        return [checked, ServiceDomainVerified(command.host, "dns")]
    return [checked, command.again] if command.again else [checked]


class RemoveDomain(DomainCommand, frozen=True, kw_only=True):
    """The service gives the name up."""


def remove(state: DomainState, command: RemoveDomain) -> list[Event]:
    return [*_dropped(_claim(state, command)), ServiceDomainRemoved(command.host)]


def _dropped(claim: DomainRow) -> list[Event]:
    return [ServiceDomainCheckDropped(claim.check_open, claim.host)] if claim.check_open else []


def _claim(state: DomainState, command: DomainCommand) -> DomainRow:
    for claim in state.own:
        if claim.host == command.host:
            return claim
    raise Rejected("domain_not_found", f"the service has no name {command.host}")


def _check_free(state: DomainState, command: DomainCommand) -> None:
    if state.owner and state.owner.service_id != command.service_id:
        raise Rejected("domain_taken", f"{command.host} was verified for another service")


COMMANDS: dict[type[Command], Decision] = {
    AddDomain: Decision(load_domain, add, STREAM),
    VerifyDomain: Decision(load_domain, verify, STREAM),
    CheckDomain: Decision(load_domain, check, STREAM),
    FinishDomainCheck: Decision(load_check, finish, STREAM),
    RemoveDomain: Decision(load_domain, remove, STREAM, frees=True),
}
