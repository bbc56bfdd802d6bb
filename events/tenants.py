"""What happened to tenants. Names and addresses of people are sealed for the tenant before they become a fact."""

from events.event import Event, Intent, Outcome


class TenantRegistered(Event, frozen=True, tag="tenant.registered"):
    """A tenant exists. `label` is its part of every URL, for good; `subnet` is its network's, as a CIDR /26.

    `egress_subnet` is that of the network through which its services with egress reach the internet; "" in logs that are
    older than such networks.
    """

    name: bytes  # sealed
    email: bytes  # sealed
    email_index: bytes  # keyed hash of the lower-case address, so that it can be found without being read
    label: str
    subnet: str
    egress_subnet: str = ""


class TenantProfileChanged(Event, frozen=True, tag="tenant.profile_changed"):
    """The tenant changed its name or address. None is "as it was"."""

    name: bytes | None = None  # sealed
    email: bytes | None = None  # sealed
    email_index: bytes | None = None


class TenantQuotasSet(Event, frozen=True, tag="tenant.quotas_set"):
    """The operator set quotas: name → new value, only those that were given."""

    quotas: dict[str, int]


class TenantSuspended(Intent, frozen=True, tag="tenant.suspended"):
    """The tenant's keys are dead from here on; all that runs is to be stopped."""


class TenantQuieted(Outcome, frozen=True, tag="tenant.quieted"):
    """Everything that a suspended tenant ran has been told to stop."""

    services: list[str]


class TenantKept(Intent, frozen=True, tag="tenant.kept"):
    """The suspended tenant is kept as it is until `due_us`; then it is to be erased, unless it came back."""

    due_us: int


class TenantWorkSuperseded(Outcome, frozen=True, tag="tenant.work_superseded"):
    """Something newer was accepted: this work is no longer wanted."""


class TenantReactivated(Intent, frozen=True, tag="tenant.reactivated"):
    """The tenant is back; what ran before is to run again."""


class TenantResumed(Outcome, frozen=True, tag="tenant.resumed"):
    """What ran before the suspension has been asked to run again."""

    services: list[str]


class TenantErasureRequested(Intent, frozen=True, tag="tenant.erasure_requested"):
    """The operator confirmed that all data of the tenant is to become unreadable."""


class TenantErased(Outcome, frozen=True, tag="tenant.erased"):
    """The tenant's key is destroyed: what was sealed for it stays sealed, here and in every backup of this key file."""


EVENTS = (
    TenantRegistered,
    TenantProfileChanged,
    TenantQuotasSet,
    TenantSuspended,
    TenantQuieted,
    TenantKept,
    TenantWorkSuperseded,
    TenantReactivated,
    TenantResumed,
    TenantErasureRequested,
    TenantErased,
)
