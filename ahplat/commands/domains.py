"""What may be said of further host names: who claims one, that it was found to be theirs, that it is given up.

A claim takes nothing from anybody. Only one service has a name verified; that one is routed.
"""

from apsw import Connection
from msgspec import Struct

from ahplat import limits
from ahplat.commands.command import Command, Decision
from ahplat.commands.services import STREAM, ServiceCommand, load_row
from ahplat.errors import Rejected
from events.domains import ServiceDomainAdded, ServiceDomainRemoved, ServiceDomainVerified
from events.event import Event
from projections import domains
from projections.domains import DomainRow


class DomainCommand(ServiceCommand, frozen=True, kw_only=True):
    """A command about one host name of a service. `host` is normalised: see ahplat/hosts.py."""

    host: str


class DomainState(Struct, frozen=True):
    """The service's claims, the tenant's to this name, and whose it was found to be."""

    own: list[DomainRow]
    claims: list[DomainRow]
    owner: DomainRow | None


def load_domain(views: Connection, command: DomainCommand) -> DomainState:
    row = load_row(views, command)
    return DomainState(
        own=domains.list_of(views, row.service_id),
        claims=domains.claims_of(views, row.tenant_id, command.host),
        owner=domains.owner_of(views, command.host),
    )


class AddDomain(DomainCommand, frozen=True, kw_only=True):
    """The service is to answer under a name. `verified_by` says who vouches for it at once, "" for nobody yet."""

    verified_by: str = ""


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
    return [added, ServiceDomainVerified(command.host, command.verified_by)] if command.verified_by else [added]


class VerifyDomain(DomainCommand, frozen=True, kw_only=True):
    """Somebody who may say so found the name to be the tenant's."""

    by: str


def verify(state: DomainState, command: VerifyDomain) -> list[Event]:
    claim = _claim(state, command)
    if claim.verified:
        return []
    _check_free(state, command)
    return [ServiceDomainVerified(command.host, command.by)]


class RemoveDomain(DomainCommand, frozen=True, kw_only=True):
    """The service gives the name up."""


def remove(state: DomainState, command: RemoveDomain) -> list[Event]:
    _claim(state, command)
    return [ServiceDomainRemoved(command.host)]


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
    RemoveDomain: Decision(load_domain, remove, STREAM),
}
