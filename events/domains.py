"""What happened to the further host names of services: facts of the service's own stream."""

from events.event import Event


class ServiceDomainAdded(Event, frozen=True, tag="service.domain_added"):
    """A tenant says that a host name is theirs. It is routed once that was verified."""

    host: str  # normalised: lower case, A-labels, no trailing dot


class ServiceDomainVerified(Event, frozen=True, tag="service.domain_verified"):
    """Somebody who may say so found the name to be the tenant's: `by` is operator, or dev."""

    host: str
    by: str


class ServiceDomainRemoved(Event, frozen=True, tag="service.domain_removed"):
    """The service does not answer under the name any more; it is free for anybody."""

    host: str


EVENTS = (ServiceDomainAdded, ServiceDomainVerified, ServiceDomainRemoved)
