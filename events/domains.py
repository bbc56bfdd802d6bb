"""What happened to the further host names of services: facts of the service's own stream."""

from events.event import Event, Intent, Outcome


class ServiceDomainAdded(Event, frozen=True, tag="service.domain_added"):
    """A tenant says that a host name is theirs. It is routed once that was verified."""

    host: str  # normalised: lower case, A-labels, no trailing dot


class ServiceDomainVerified(Event, frozen=True, tag="service.domain_verified"):
    """Somebody who may say so found the name to be the tenant's: `by` is dns, operator, or dev."""

    host: str
    by: str


class ServiceDomainRemoved(Event, frozen=True, tag="service.domain_removed"):
    """The service does not answer under the name any more; it is free for anybody."""

    host: str


class ServiceDomainCheckRequested(Intent, frozen=True, tag="service.domain_check_requested"):
    """The name's TXT record is to be looked for, not before `due_us`; by itself the platform looks until `until_us`.

    It is work beside the service's own: a deployment does not wait for a resolver.
    """

    host: str
    due_us: int
    until_us: int
    number: int = 1

    def subject_in(self, stream: str) -> str:
        return f"domain-{stream.partition('-')[2]}.{self.host}"


class ServiceDomainChecked(Outcome, frozen=True, tag="service.domain_checked"):
    """What a look for the record found: found, record_missing, record_differs, no_answer, domain_taken."""

    host: str
    finding: str


class ServiceDomainCheckDropped(Outcome, frozen=True, tag="service.domain_check_dropped"):
    """Nobody waits for this look any longer."""

    host: str


EVENTS = (
    ServiceDomainAdded,
    ServiceDomainVerified,
    ServiceDomainRemoved,
    ServiceDomainCheckRequested,
    ServiceDomainChecked,
    ServiceDomainCheckDropped,
)
