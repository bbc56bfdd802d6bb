"""What passes from one hop to the next (RFC 9110, 7.6): a request's target, and the header fields of both ways.

Functions of values. The invariant: what the client says of where it comes from is never passed on.
"""

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
WHERE_FROM = frozenset(("forwarded", "x-real-ip"))  # and all X-Forwarded-*: a client may not say it itself
_OF_THE_REQUEST = HOP_BY_HOP | WHERE_FROM | {"expect"}  # 100 Continue was our own server's to send


def target(request: web.BaseRequest, host: str, port: int) -> URL | None:
    """The URL to ask: path and query exactly as the client sent them. None for `*` and authority forms."""
    path = request.raw_path
    if not path.startswith("/"):
        path = request.rel_url.raw_path_qs if path.lower().startswith(("http://", "https://")) else ""
    at = f"[{host}]" if ":" in host else host
    return URL(f"http://{at}:{port}{path}", encoded=True) if path else None


def end_to_end(headers: CIMultiDictProxy[str], but: frozenset[str] = HOP_BY_HOP) -> CIMultiDict[str]:
    """The fields that pass: all but `but`, and those that Connection names. Duplicates and their order stay.

    Duplicates get the spelling of the first of them: aiohttp's client keeps only one where they are spelt differently.
    """
    dropped = but | {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    passed: CIMultiDict[str] = CIMultiDict()
    spelt: dict[str, str] = {}
    for name, value in headers.items():
        if (lower := name.lower()) not in dropped:
            passed.add(spelt.setdefault(lower, name), value if value.isascii() else _in_utf8(value))
    return passed


def _in_utf8(value: str) -> str:
    """A value whose bytes were not UTF-8, taken for Latin-1: aiohttp would leave out what it cannot encode."""
    found = value.encode("utf-8", "surrogateescape")
    try:
        return found.decode()
    except UnicodeDecodeError:
        return found.decode("latin-1")


def request_headers(request: web.BaseRequest, peer: str, proto: str) -> CIMultiDict[str]:
    """The fields of the request that pass, and ours about where it comes from."""
    passed = end_to_end(request.headers, _OF_THE_REQUEST)
    for name in [name for name in passed if name.lower().startswith("x-forwarded-")]:
        passed.popall(name, None)
    passed["X-Forwarded-For"] = peer
    passed["X-Forwarded-Proto"] = proto
    passed["X-Forwarded-Host"] = request.headers.get(hdrs.HOST, "")
    return passed
