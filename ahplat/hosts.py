"""Host names from outside, brought into the one form in which they are kept and compared.

The invariant: two names that DNS, a browser or the router take for the same are equal here. Case, full-width letters,
other kinds of dots and a trailing one are mapped away (UTS 46), letters of other scripts become A-labels (IDNA 2008), so
what is kept is a-z, 0-9, "-" and "." only.
"""

import re

import idna

HOST_CHARACTERS = 253  # RFC 1035, section 2.3.4, without the trailing dot
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_NOBODYS = frozenset({"localhost", "local", "internal", "invalid", "arpa", "onion", "alt"})  # no names of public DNS


def canonical_host(text: str) -> str:
    """The name as it is kept. Raises ValueError that says why it is none.

    >>> canonical_host("WWW.Bücher.example."), canonical_host("ＷＷＷ。bücher.example")
    ('www.xn--bcher-kva.example', 'www.xn--bcher-kva.example')
    """
    if len(text) > 2 * HOST_CHARACTERS:
        raise ValueError(f"it is longer than {HOST_CHARACTERS} characters")
    try:
        host = idna.encode(text, uts46=True, std3_rules=True).decode().removesuffix(".")
        idna.decode(host)
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(str(error)) from error
    if not is_canonical(host):
        raise ValueError("expected labels of a-z, 0-9 and - with dots between them, two at least")
    last = host.rpartition(".")[2]
    if last.isdecimal() or re.fullmatch(r"0x[0-9a-f]*", last):
        raise ValueError("it is, or could be taken for, an address")
    if last in _NOBODYS:
        raise ValueError(f"nobody owns names under .{last}")
    return host


def is_canonical(host: str) -> bool:
    """Whether a name is in the form in which it is kept.

    >>> is_canonical("a.example"), is_canonical("A.example"), is_canonical("a.example.")
    (True, False, False)
    """
    return len(host) <= HOST_CHARACTERS and _HOST.fullmatch(host) is not None


def is_under(host: str, domain: str) -> bool:
    """Whether a name is a domain's own, or one under it.

    >>> is_under("a.b.example", "b.example"), is_under("ab.example", "b.example")
    (True, False)
    """
    return host == domain or host.endswith(f".{domain}")
