"""Takes a tenant's secrets out of what its programs said: whatever they print, it is not handed on.

Known are the values that its variables have or had, the passwords of its databases, what stands before the @ of its
repositories' addresses, and the form of API keys. Each is found as it stands, quoted for a URL, in JSON, and in Base64.
A value of fewer than four characters is no secret: it stands in every line. The invariant: of what is known nothing is
left; what a program made of a secret otherwise cannot be known.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from apsw import Connection

from ahplat.errors import Unreadable
from ahplat.sealing import Keyring
from events.builds import BuildRequested
from events.catalog import decode
from events.databases import DatabaseCreateRequested
from events.event import Recorded
from events.services import ServiceEnvSet

SEALED = "[sealed]"
_SHORTEST = 4  # characters
_API_KEY = re.compile(r"\b[0-9a-f]{32}\.[A-Za-z0-9_-]{16,64}")
_USER = re.compile(r"://([^/@\s]+)@")
Sealed = tuple[str, str, bytes]  # the stream and the field that it is bound to, the envelope


class Redaction:
    """Of what is known of one tenant, from its views and its events."""

    def __init__(
        self, keyring: Keyring, tenant_id: str, views: Iterable[Connection], recorded: Iterable[Recorded]
    ) -> None:
        known: set[str] = set()
        for stream, field, envelope in {*_in_views(views), *_in_events(recorded)}:
            try:
                text = keyring.unseal(tenant_id, stream, field, envelope).decode(errors="replace")
            except Unreadable:
                continue
            known.update(_forms(_USER.findall(text) if field == "url" else [text, *text.splitlines()]))
        found = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, found))) if found else None

    def of(self, text: str) -> bytes:
        """The text without them."""
        text = _API_KEY.sub(SEALED, text)
        return (self._known.sub(SEALED, text) if self._known else text).encode()


def _forms(values: Iterable[str]) -> Iterator[str]:
    for value in (value.strip() for value in values):
        if len(value) >= _SHORTEST:
            yield from (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1])
            yield b64encode(value.encode()).decode().rstrip("=")


def _in_views(views: Iterable[Connection]) -> Iterator[Sealed]:
    for one in views:
        for service_id, key, envelope in one.execute("SELECT service_id, key, sealed FROM env"):
            yield f"service-{service_id}", f"env.{key}", envelope
        for database_id, envelope in one.execute("SELECT database_id, password FROM database"):
            yield f"database-{database_id}", "password", envelope or b""
        for build_id, envelope in one.execute("SELECT build_id, url FROM build"):
            yield f"build-{build_id}", "url", envelope or b""


def _in_events(recorded: Iterable[Recorded]) -> Iterator[Sealed]:
    for at in recorded:
        event: Any = decode(at.type, at.data)
        match event:
            case ServiceEnvSet():
                yield from ((at.stream, f"env.{key}", envelope) for key, envelope in event.sealed.items())
            case DatabaseCreateRequested():
                yield at.stream, "password", event.password
            case BuildRequested():
                yield at.stream, "url", event.url
