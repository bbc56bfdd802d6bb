"""Who calls. An API key is `keyID.secret`; its secret ends in a tag of ours, so that a forgery fails before bcrypt runs.

What bcrypt said yes to is remembered under a keyed hash, and forgotten the moment the key is revoked or its tenant is
suspended: the hub tells us before the command that did it is answered. The invariant: nothing here grants anything by
the peer's address.
"""

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

import bcrypt
from msgspec import Struct

from ahplat import limits
from ahplat.api import headers, throttle
from ahplat.api.application import Application
from ahplat.api.call import Call, Principal
from ahplat.errors import Rejected, Unavailable
from events.event import Event, Recorded
from events.keys import KeyCreated, KeyRevoked
from events.tenants import TenantErasureRequested, TenantSuspended
from projections import keys, tenants
from projections.keys import KeyRow

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_RANDOM_BYTES, _TAG_BYTES = 16, 7  # 31 characters of base64url, so that keyID.secret has 64
SCOPES = ("read", "deploy", "admin")


class Throttled(Rejected):
    """Too many of something; `retry_after_s` says when there may be more, `headers` what is left."""

    def __init__(self, code: str, detail: str, retry_after_s: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s
        self.headers = headers


class Token(Struct):
    """A body that holds at most the operator's token."""

    bootstrap_token: str = ""


class NewKey(Struct, frozen=True):
    """A key just made: what to tell its holder, once, and the bcrypt digest to keep."""

    key_id: str
    api_key: str
    digest: bytes


class Gate:
    """Checks keys and tokens; one for the whole process."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._known: dict[bytes, Principal] = {}
        self._asked: dict[bytes, asyncio.Future[Principal]] = {}  # tokens that are being verified
        self._hash_key = os.urandom(32)
        self._failures = throttle.Window(limits.AUTH_FAILURES_PER_MINUTE, 60.0, limits.AUTH_CACHE)
        self._threads = ThreadPoolExecutor(limits.BCRYPT_THREADS, "bcrypt")
        self._waiting = 0

    def forget(self, facts: list[tuple[Recorded, Event]]) -> None:
        """Called with every commit, before anybody is answered."""
        for at, event in facts:
            if isinstance(event, KeyRevoked):
                self._known = {token: who for token, who in self._known.items() if who.key_id != event.key_id}
            elif isinstance(event, TenantSuspended | TenantErasureRequested):
                self._known = {token: who for token, who in self._known.items() if who.tenant_id != at.tenant}

    async def tenant(self, call: Call) -> Principal:
        """Who the bearer token belongs to. Raises Rejected."""
        sent = call.request.headers.getall("Authorization", ())
        token = headers.bearer(sent[0]) if len(sent) == 1 else None
        if token is None:
            raise Rejected("unauthenticated", "expected Authorization: Bearer <keyID>.<secret>")
        known = self._known.get(self._hash(token)) or await self._verified(token, call.address)
        if known.expires_at and self._app.clock.now_us() >= known.expires_at * 1_000_000:
            raise Rejected("key_expired", f"the key {known.key_id} has expired")
        return known

    async def _verified(self, token: str, address: str) -> Principal:
        """What `_verify` says, asked once for all who come with the same token meanwhile."""
        hashed = self._hash(token)
        asked = self._asked.get(hashed)
        if asked is None:
            asked = self._asked[hashed] = asyncio.ensure_future(self._verify(token, address))
            asked.add_done_callback(lambda done: (self._asked.pop(hashed) and done.cancelled()) or done.exception())
        return await asyncio.shield(asked)

    def _hash(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), digest_size=16, key=self._hash_key).digest()

    async def _verify(self, token: str, address: str) -> Principal:
        now = self._app.clock.monotonic()
        key_id, _, secret = token.partition(".")
        counted = (address, f"{address} {key_id[:32]}")
        for counter in counted:
            if wait_s := self._failures.wait_s(counter, now):
                raise Throttled("auth_rate_limited", "too many failed authentications from here", wait_s)
        try:
            row = self._in_force(key_id) if self._tagged(key_id, secret) else None
            if row is None or not await self._matches(secret, row.digest):
                raise Rejected("unauthenticated", "the key is not one of ours")
            row = self._in_force(key_id)  # as it is now: bcrypt took its time
        except Rejected as refused:
            is_guess = refused.code == "unauthenticated"  # a key that died was a key: its tag says so
            for counter in counted if is_guess else counted[1:]:
                self._failures.hit(counter, now)
            raise
        tenant = tenants.find(self._app.views, row.tenant_id)
        assert tenant, f"key {key_id} is nobody's"
        who = Principal(
            "tenant",
            f"key:{key_id}",
            row.tenant_id,
            tenant.label,
            key_id,
            frozenset(row.scopes.split()),
            row.expires_at,
            row.service_id,
        )
        if len(self._known) >= limits.AUTH_CACHE:
            self._known.clear()
        self._known[self._hash(token)] = who
        return who

    def _in_force(self, key_id: str) -> KeyRow:
        """The key's row. Raises Rejected where the key opens nothing any more; before bcrypt is asked, which takes long."""
        row = keys.find(self._app.views, key_id)
        status = tenants.status_of(self._app.views, row.tenant_id) if row else ""
        if row is None or not status:
            raise Rejected("unauthenticated", "the key is not one of ours")
        if status != "active":
            raise Rejected("tenant_suspended", f"the tenant is {status}")
        if row.revoked_at is not None:
            raise Rejected("key_revoked", f"the key {key_id} was revoked")
        return row

    async def _matches(self, secret: str, digest: bytes) -> bool:
        return await self._in_thread(bcrypt.checkpw, secret.encode(), digest)

    async def _in_thread(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._waiting >= limits.BCRYPT_WAITING:
            raise Unavailable("overloaded", "too many keys are being checked")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        finally:
            self._waiting -= 1

    # making keys

    def _tag(self, key_id: str, random: bytes) -> bytes:
        return self._app.keyring.mac("key tags", key_id.encode() + random)[:_TAG_BYTES]

    def _tagged(self, key_id: str, secret: str) -> bool:
        """Whether the secret ends in our tag: what does not was never a key."""
        try:
            raw = base64.b64decode(secret + "=", b"-_", validate=True)
        except ValueError:
            return False
        random, tag = raw[:_RANDOM_BYTES], raw[_RANDOM_BYTES:]
        return len(raw) == _RANDOM_BYTES + _TAG_BYTES and hmac.compare_digest(tag, self._tag(key_id, random))

    async def new_key(self, key_id: str) -> NewKey:
        """A fresh key; takes a bcrypt in a thread."""
        random = os.urandom(_RANDOM_BYTES)
        secret = base64.urlsafe_b64encode(random + self._tag(key_id, random)).rstrip(b"=").decode()
        digest = await self._in_thread(bcrypt.hashpw, secret.encode(), bcrypt.gensalt(limits.BCRYPT_COST))
        return NewKey(key_id, f"{key_id}.{secret}", digest)

    # the operator

    def bootstrap(self, token: str | None, address: str) -> bool:
        """Whether it is one of the operator's tokens. Raises Throttled after too many that were not."""
        now = self._app.clock.monotonic()
        if wait_s := self._failures.wait_s(f"bootstrap {address}", now):
            raise Throttled("auth_rate_limited", "too many failed bootstrap tokens from here", wait_s)
        if not token:
            return False
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        fits = [
            hmac.compare_digest(given, hashlib.sha256(valid.encode()).digest())
            for valid in self._app.config.bootstrap_tokens
        ]
        if not any(fits):
            self._failures.hit(f"bootstrap {address}", now)
        return any(fits)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def key_created(
    made: NewKey, sealed_name: bytes, scopes: list[str], expires_at: int, service_id: str = ""
) -> KeyCreated:
    """The fact of a new key."""
    return KeyCreated(
        key_id=made.key_id,
        name=sealed_name,
        digest=made.digest,
        scopes=scopes,
        expires_at=expires_at,
        service_id=service_id,
    )
