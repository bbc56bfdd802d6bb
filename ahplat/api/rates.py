"""How often a tenant, and all of them together, may ask. The operator's own figure for a tenant holds from its commit on."""

from collections.abc import Mapping

from ahplat import limits
from ahplat.api import throttle
from ahplat.api.application import Application
from ahplat.api.auth import Throttled
from events.event import Event, Recorded
from events.tenants import TenantQuotasSet
from projections import tenants

_QUOTA = "api_rate_limit"


class Rates:
    """See the module. Buckets are in memory: a restart fills them."""

    def __init__(self, app: Application) -> None:
        self._app = app
        rate = limits.QUOTAS[_QUOTA]
        self._tenants = throttle.Buckets(rate, rate * limits.RATE_BURST, limits.AUTH_CACHE)
        self._everybody = throttle.Buckets(limits.GLOBAL_RATE, limits.GLOBAL_BURST, 1)
        self._rate_of: dict[str, int] = {}  # of tenants that asked lately

    def take_of_all(self) -> None:
        """One request of anybody. Raises Throttled."""
        taken = self._everybody.take("", self._app.clock.monotonic())
        if not taken.allowed:
            shown = self._everybody.headers(taken)
            raise Throttled("rate_limited", "the platform has too many requests", taken.retry_after_s, shown)

    def take(self, tenant_id: str) -> Mapping[str, str]:
        """One request of a tenant; the header fields that say what is left. Raises Throttled."""
        rate = self._rate_of.get(tenant_id)
        if rate is None:
            rate = self._load(tenant_id)
        taken = self._tenants.take(tenant_id, self._app.clock.monotonic(), rate)
        shown = self._tenants.headers(taken, rate)
        if not taken.allowed:
            raise Throttled("rate_limited", "too many requests of this tenant", taken.retry_after_s, shown)
        return shown

    def _load(self, tenant_id: str) -> int:
        if len(self._rate_of) >= limits.AUTH_CACHE:
            self._rate_of.clear()
        quotas = limits.QUOTAS | tenants.quotas_of(self._app.views, tenant_id)
        rate = self._rate_of[tenant_id] = quotas[_QUOTA]
        return rate

    def committed(self, facts: list[tuple[Recorded, Event]]) -> None:
        """Called with every commit, before anybody is answered."""
        for at, event in facts:
            if isinstance(event, TenantQuotasSet) and _QUOTA in event.quotas:
                self._rate_of[at.tenant] = event.quotas[_QUOTA]
