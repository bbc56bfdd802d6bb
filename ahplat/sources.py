"""Repositories and refs: what a tenant may have cloned, with nothing in it that could be an option or lead elsewhere.

An archive that was sent is named by what it is, in place of an address: `upload:sha256:<hex>`.
"""

import ipaddress
import re

from msgspec import Struct

from ahplat import limits
from ahplat.errors import Rejected, Violation

UPLOAD = "upload:"
HOSTS = frozenset({"github.com", "gitlab.com", "bitbucket.org", "sr.ht", "git.sr.ht", "codeberg.org"})

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9_~.-]+)+)/?"
)
_REF = re.compile(r"[A-Za-z0-9._/][A-Za-z0-9._/-]*")
_NO_REF = re.compile(r"(^|/)(\.|/|$)|^/|\.\.|\.(lock)?(/|$)")  # git-check-ref-format(1): what has such is none
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Rules(Struct, frozen=True):
    """Where repositories may be. `hosts` are those that the operator adds, as HOST or HOST:PORT.

    `plain` (with `--dev` only) lets such a host be spoken to over plain http where it is this machine.
    """

    hosts: frozenset[str] = frozenset()
    plain: bool = False


def check_url(url: str, rules: Rules, pointer: str) -> str:
    """The URL as it came. Raises Rejected `source_invalid` or `source_forbidden` with the pointer of the field.

    >>> check_url("https://github.com/acme/web.git", Rules(), "/source_url")
    'https://github.com/acme/web.git'
    """
    found = _URL.fullmatch(url)
    if found is None or len(url) > limits.SOURCE_URL_CHARS or "/../" in f"{url}/":
        raise _refused("source_invalid", pointer, "expected https://HOST/PATH without user, query, fragment or escapes")
    host, port = found["host"], found["port"]
    added = host in rules.hosts or f"{host}:{port}" in rules.hosts
    if not added and (host not in HOSTS or port not in (None, "443")):
        named = f"{host}:{port}" if port else host
        allowed = ", ".join(sorted(HOSTS | rules.hosts))
        raise _refused(
            "source_forbidden",
            pointer,
            f"{named} is not allowed: expected one of {allowed} (--allow-git-host adds one)",
        )
    if found["scheme"] == "http" and not (rules.plain and added and _is_loopback(host)):
        raise _refused("source_invalid", pointer, "expected https: plain http is for this machine's own, with --dev")
    return url


def is_address(url: str) -> bool:
    """Whether a URL that was checked names its host by an address, which only an operator can have allowed.

    >>> is_address("http://127.0.0.1:8418/a.git"), is_address("https://github.com/acme/web")
    (True, False)
    """
    found = _URL.fullmatch(url)
    host = found["host"] if found else ""
    return host == "localhost" or re.fullmatch(r"[0-9.]+", host) is not None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_ref(ref: str, pointer: str) -> str:
    """A branch, a tag or a whole commit; "" is the default branch. Raises Rejected `source_invalid`.

    >>> check_ref("feature/x-1", "/source_ref")
    'feature/x-1'
    """
    if ref and (not _REF.fullmatch(ref) or len(ref) > limits.SOURCE_REF_CHARS or _NO_REF.search(ref)):
        raise _refused(
            "source_invalid", pointer, "expected a branch, a tag or a commit: A-Z a-z 0-9 . _ / -, no - first"
        )
    return ref


def is_commit(ref: str) -> bool:
    """Whether a ref is a commit's whole name, which is fetched by itself."""
    return _COMMIT.fullmatch(ref) is not None


def _refused(code: str, pointer: str, message: str) -> Rejected:
    return Rejected(code, f"{pointer}: {message}", (Violation(pointer, message),))
