"""How often somebody may ask: token buckets for requests, sliding windows for failures. Clock values are passed in.

A bucket is one number, the time at which it will be full again (GCRA): taking a token moves that time on, and a bucket
that is full need not be remembered. The invariant: never more than `capacity` keys, and what is forgotten first is what
was least used.
"""

from collections import deque
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

from msgspec import Struct

from ahplat import limits

_GRAIN = 1e-6  # seconds that rounding may cost: a burst adds up hundreds of differences of large numbers


class Taken(Struct, frozen=True, gc=False):
    """What became of one request. `reset_s`: until the bucket is full; `retry_after_s`: 0 when it was allowed."""

    allowed: bool
    remaining: int
    reset_s: int
    retry_after_s: int


class Statistics(Struct, frozen=True):
    """What a limiter holds, for the metrics."""

    keys: int
    refused: int


class Buckets:
    """Token buckets of one kind: `burst` tokens each, refilled with `rate` a second.

    A key may have a rate of its own; its burst is then larger or smaller by as much.
    """

    def __init__(self, rate: float, burst: int, capacity: int) -> None:
        assert rate > 0 and burst > 0 and capacity > 0, (rate, burst, capacity)
        self.rate = rate
        self.window_s = burst / rate  # in which an empty bucket fills, whatever the key's rate
        self.capacity = capacity
        self._full_at: dict[str, float] = {}
        self._refused = 0
        self._headers: dict[tuple[float, int, int, int], Mapping[str, str]] = {}

    def take(self, key: str, now: float, rate: float | None = None) -> Taken:
        """Takes a token if there is one. `now` is monotonic, in seconds; `rate` in place of the common one."""
        if rate is None:
            rate = self.rate
        elif rate <= 0:
            self._refused += 1
            return Taken(False, 0, 60, 60)
        owed = self._full_at.get(key, now) - now
        if owed < 0.0:
            owed = 0.0
        after = owed + 1.0 / rate
        left = self.window_s - after + _GRAIN
        if left < 0.0:
            self._refused += 1
            return Taken(False, 0, ceil(owed - _GRAIN), max(1, ceil(-left)))
        self._full_at[key] = now + after
        if len(self._full_at) > self.capacity:
            self._forget(now)
        return Taken(True, int(left * rate), ceil(after - _GRAIN), 0)

    def headers(self, taken: Taken, rate: float | None = None) -> Mapping[str, str]:
        """The header fields that tell a client (draft-ietf-httpapi-ratelimit-headers, and the older X- names).

        >>> dict(Buckets(100, 200, 10).headers(Taken(True, 150, 1, 0)))["RateLimit"]
        '"default";r=150;t=1'
        """
        key = (self.rate if rate is None else rate, taken.remaining, taken.reset_s, taken.retry_after_s)
        known = self._headers.get(key)
        if known is None:
            if len(self._headers) >= limits.THROTTLE_HEADERS:
                self._headers.clear()
            known = self._headers[key] = self._make_headers(*key)
        return known

    def _make_headers(self, rate: float, remaining: int, reset_s: int, retry_after_s: int) -> Mapping[str, str]:
        quota = int(max(rate, 0) * self.window_s)
        made = {
            "RateLimit": f'"default";r={remaining};t={max(reset_s, retry_after_s)}',
            "RateLimit-Policy": f'"default";q={quota};w={ceil(self.window_s)}',
            "X-RateLimit-Limit": str(quota),
            "X-RateLimit-Remaining": str(remaining),
        }
        if retry_after_s:
            made["Retry-After"] = str(retry_after_s)
        return made

    def _forget(self, now: float) -> None:
        """Forgets full buckets, of which nothing is lost, and where that is not enough the fullest half."""
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) > self.capacity * 3 // 4:
            emptiest = sorted(self._full_at.items(), key=lambda item: item[1], reverse=True)
            self._full_at = dict(emptiest[: self.capacity // 2])

    def statistics(self) -> Statistics:
        return Statistics(len(self._full_at), self._refused)


class Window:
    """At most `limit` hits of one key in any `window_s` seconds."""

    def __init__(self, limit: int, window_s: float, capacity: int) -> None:
        assert limit > 0 and window_s > 0 and capacity > 0, (limit, window_s, capacity)
        self.limit = limit
        self.window_s = window_s
        self.capacity = capacity
        self._hits: dict[str, deque[float]] = {}
        self._refused = 0

    def wait_s(self, key: str, now: float) -> int:
        """Whole seconds until the key may hit again; 0 when it may now."""
        hits = self._hits.get(key)
        if hits is None or len(hits) < self.limit:
            return 0
        left = hits[0] + self.window_s - now
        if left <= 0.0:
            return 0
        self._refused += 1
        return ceil(left)

    def hit(self, key: str, now: float) -> None:
        """Counts one. Only the last `limit` of a key matter."""
        hits = self._hits.get(key)
        if hits is None:
            if len(self._hits) >= self.capacity:
                self._forget(now)
            hits = self._hits[key] = deque(maxlen=self.limit)
        hits.append(now)

    def take(self, key: str, now: float) -> int:
        """Counts one if it may: 0. Else what `wait_s` says, and nothing is counted."""
        if wait_s := self.wait_s(key, now):
            return wait_s
        self.hit(key, now)
        return 0

    def _forget(self, now: float) -> None:
        """Forgets what lies before the window, and where that is not enough the half with the fewest hits.

        So a flood of new addresses does not free one that is blocked.
        """
        since = now - self.window_s
        self._hits = {key: hits for key, hits in self._hits.items() if hits[-1] > since}
        if len(self._hits) > self.capacity * 3 // 4:
            busiest = sorted(self._hits.items(), key=lambda item: (len(item[1]), item[1][-1]), reverse=True)
            self._hits = dict(busiest[: self.capacity // 2])

    def statistics(self) -> Statistics:
        return Statistics(len(self._hits), self._refused)


def network(address: str) -> str:
    """What to count an address under: itself for IPv4, its /64 for IPv6, of which one host has as many as it likes.

    >>> network("192.0.2.7"), network("2001:db8::7"), network("::ffff:192.0.2.7"), network("unix")
    ('192.0.2.7', '2001:db8::/64', '192.0.2.7', 'unix')
    """
    if ":" not in address:
        return address
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return str(ip_network((known, 64), strict=False))
    return str(known.ipv4_mapped if isinstance(known, IPv6Address) else known)
