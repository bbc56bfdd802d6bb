"""Header fields in and out: each a pure function of the field's value, None where the request does not have it.

What a client may get wrong without harm is ignored (trace ids, preferences); what would change the meaning of its
request is Rejected (idempotency keys) or never matches (entity tags). The invariant: nothing that comes out of here
holds a control character.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from ahplat import limits
from ahplat.errors import Rejected, Violation

NEVER = -1
"""An expected version that no stream has."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_AGENT = re.compile(r"[A-Za-z0-9._:/+-]{1,64}").fullmatch
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"(?: *;.*)?').fullmatch
_BARE = re.compile(r"[!#-~][!-~]*").fullmatch
_TAG = re.compile(r'(W/)?"([!#-~]*)"')
_TAGS = re.compile(r'(?:W/)?"[!#-~]*"(?:[ \t]*,[ \t]*(?:W/)?"[!#-~]*")*').fullmatch
_OWN_TAG = re.compile(r'"([0-9]{1,18})\.([0-9]{1,18})(?:\.[0-9a-f]{16})?"').fullmatch
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII).fullmatch
_PREFERENCE = re.compile(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^\s;,"]*))?[^,]*(?:,|$)')


def request_id(value: str | None, fresh: Callable[[], str]) -> str:
    """The caller's id if it is sane, else a fresh one."""
    if value is not None and _REQUEST_ID(value):
        return value
    return fresh()


def traceparent(value: str | None) -> str:
    """The trace that the request is part of (W3C Trace Context, level 2), "" when there is none that is valid.

    Of a version above 00 the four fields that we know are taken, as 00 has them.
    """
    if value is None or (found := _TRACEPARENT(value)) is None:
        return ""
    version, trace, parent, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None) or not trace.strip("0") or not parent.strip("0"):
        return ""
    if version == "00":
        return value
    return f"00-{trace}-{parent}-{int(flags, 16) & 0b11:02x}"


def idempotency_key(value: str | None) -> str | None:
    """The key, quoted (RFC 8941 string, its parameters ignored) or bare: the same key either way.

    Raises Rejected("validation_failed") unless it is 1–128 printable ASCII characters.

    >>> idempotency_key('"a-1"'), idempotency_key("a-1")
    ('a-1', 'a-1')
    """
    if value is None:
        return None
    quoted = _QUOTED(value)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value if _BARE(value) else ""
    if not 1 <= len(key) <= limits.IDEMPOTENCY_KEY_CHARS:
        raise invalid_header(
            "Idempotency-Key",
            f"expected 1–{limits.IDEMPOTENCY_KEY_CHARS} printable ASCII characters, in double quotes or without spaces",
        )
    return key


def agent(name: str, value: str) -> str:
    """What an agent calls itself (X-Agent-Name) or its run (X-Agent-Run). Raises Rejected.

    It stays in the log when its tenant is erased, as a request id does, so it is to be an identifier and nothing personal.

    >>> agent("X-Agent-Name", "deployer/1.2")
    'deployer/1.2'
    """
    if not _AGENT(value):
        raise invalid_header(name, "expected 1–64 characters of A-Z a-z 0-9 . _ : / + -")
    return value


def invalid_header(name: str, message: str) -> Rejected:
    """A header field that cannot be used."""
    return Rejected("validation_failed", f"{name}: {message}", (Violation(f"/header/{name}", message),))


def etag(epoch: int, version: int, body: bytes = b"") -> str:
    """The strong tag of a stream at a version: `"<epoch>.<version>"`.

    Where something is shown that is not of the stream, a hash of it all comes last: it counts for If-None-Match alone.

    >>> etag(1, 3), etag(1, 3, b"{}")
    ('"1.3"', '"1.3.01e7b720ff566d53"')
    """
    return f'"{epoch}.{version}.{_digest(body)}"' if body else f'"{epoch}.{version}"'


def content_tag(body: bytes) -> str:
    """The strong tag of what has no version of its own, such as a list; good for If-None-Match alone.

    >>> content_tag(b"[]")
    '"c-71857576257465c7"'
    """
    return f'"c-{_digest(body)}"'


def weak_tag(body: bytes) -> str:
    """The weak tag (RFC 9110, 8.8.1) of what is shown beside figures that are others in every answer.

    >>> weak_tag(b"[]")
    'W/"c-71857576257465c7"'
    """
    return f"W/{content_tag(body)}"


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def if_match(value: str | None, epoch: int) -> int | Literal["exists"] | None:
    """The version that the stream has to be at; "exists" for `*`; None when any will do (RFC 9110, 13.1.1).

    NEVER for a weak tag, one of another epoch or one that is not ours: the precondition fails. Of several tags the
    highest version is taken: versions only grow and the client has seen all of them, so no other can be the current one.
    """
    if value is None:
        return None
    own = _OWN_TAG(value)
    if own:
        return int(own[2]) if int(own[1]) == epoch else NEVER
    value = value.strip()
    if value == "*":
        return "exists"
    expected = NEVER
    if _TAGS(value):
        for weak, tag in _TAG.findall(value):
            own = _OWN_TAG(f'"{tag}"')
            if own and not weak and int(own[1]) == epoch:
                expected = max(expected, int(own[2]))
    return expected


def if_none_match(value: str | None, tag: str) -> bool:
    """Whether the client has what `tag` stands for, so that 304 will do. Compared weakly (RFC 9110, 13.1.2)."""
    if value is None:
        return False
    if value == tag:
        return True
    opaque = tag.removeprefix("W/")
    if opaque[1:-1] not in value and "*" not in value:
        return False
    value = value.strip()
    return value == "*" or (
        _TAGS(value) is not None and any(f'"{found}"' == opaque for _, found in _TAG.findall(value))
    )


class Prefer(Struct, frozen=True):
    """What the client would like (RFC 7240): unknown fields refused, and how long the answer may wait."""

    strict: bool = False
    wait_s: int | None = None


_NOTHING = Prefer()


def prefer(values: Iterable[str]) -> Prefer:
    """All Prefer fields of a request together. What is unknown or malformed is ignored; the first of a name counts.

    >>> prefer(["respond-async, wait=10", "handling=strict"])
    Prefer(strict=True, wait_s=10)
    """
    found: dict[str, str] = {}
    for value in values:
        for name, given in _PREFERENCE.findall(value):
            found.setdefault(name.lower(), given.strip('"'))
    if not found:
        return _NOTHING
    wait = found.get("wait", "")
    wait_s = min(int(wait), limits.WAIT_S) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Prefer(found.get("handling", "").lower() == "strict", wait_s)


def readable(text: str) -> str:
    """What came over the wire as text that any encoder takes: bytes that were not UTF-8 become U+FFFD.

    >>> readable("\\udcff!")
    '\ufffd!'
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def bearer(value: str | None) -> str | None:
    """The token of `Authorization: Bearer <token>` (RFC 6750), None when it is of another scheme or form."""
    if value is None:
        return None
    found = _BEARER(value)
    return found[1] if found else None
